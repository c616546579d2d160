"""The same areas written as QuPath, ASAP and ImageScope write them."""

import json
from pathlib import Path

__all__ = ["WRITERS", "asap_annotation", "asap_file", "imagescope_file", "imagescope_region"]

Ring = list[tuple[float, float]]
# A class, and the outer ring and the holes of one area of it.
Shape = tuple[str, list[Ring]]


def _write_geojson(path: Path, shapes: list[Shape]) -> Path:
    features = [
        {
            "type": "Feature",
            "properties": {"objectType": "annotation", "classification": {"name": name}},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[*map(list, ring), list(ring[0])] for ring in rings],
            },
        }
        for name, rings in shapes
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def asap_annotation(points, *, name="Annotation 0", group="None", kind="Polygon", order=True):
    """Return one Annotation element."""
    coordinates = "".join(
        f'<Coordinate {f"""Order="{index}" """ if order else ""}X="{x!r}" Y="{y!r}"/>\n'
        for index, (x, y) in enumerate(points)
    )
    return (
        f'<Annotation Name="{name}" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58">'
        f"<Coordinates>{coordinates}</Coordinates></Annotation>\n"
    )


def asap_file(annotations, *, groups=()):
    """Return a whole ASAP file."""
    declared = "".join(
        f'<Group Name="{group}" PartOfGroup="None" Color="#64FE2E"><Attributes/></Group>'
        for group in groups
    )
    return (
        '<?xml version="1.0"?>\n<ASAP_Annotations>\n<Annotations>'
        f"{''.join(annotations)}</Annotations>\n"
        f"<AnnotationGroups>{declared}</AnnotationGroups></ASAP_Annotations>\n"
    )


def _keyhole(rings: list[Ring]) -> Ring:
    """Return one ring that walks to each hole and back; ASAP knows no holes."""
    outer, *holes = rings
    outer = outer if _turn(outer) > 0 else outer[::-1]
    ring = [*outer, outer[0]]
    for hole in holes:
        backwards = hole if _turn(hole) < 0 else hole[::-1]
        ring += [*backwards, backwards[0], outer[0]]
    return ring


def _turn(ring: Ring) -> float:
    """Return twice the area, positive where the ring turns one way, negative for the other."""
    return sum(
        x_a * y_b - x_b * y_a
        for (x_a, y_a), (x_b, y_b) in zip(ring, [*ring[1:], ring[0]], strict=True)
    )


def _write_asap(path: Path, shapes: list[Shape]) -> Path:
    annotations = [asap_annotation(_keyhole(rings), group=name) for name, rings in shapes]
    path.write_text(asap_file(annotations, groups=sorted({name for name, _ in shapes})))
    return path


def imagescope_region(points, *, kind="0", negative=False, text="", number=1):
    """Return one Region element."""
    vertices = "".join(f'<Vertex X="{x!r}" Y="{y!r}" Z="0"/>\n' for x, y in points)
    return (
        f'<Region Id="{number}" Type="{kind}" Zoom="1" Text="{text}" NegativeROA="{negative:d}" '
        f'InputRegionId="0" Analyze="1" DisplayId="{number}"><Attributes/>'
        f"<Vertices>{vertices}</Vertices></Region>\n"
    )


def imagescope_file(*layers):
    """Return a whole ImageScope file; a layer is (name, description, regions)."""
    texts = [
        f'<Annotation Id="{index}" Name="{name}" ReadOnly="0" Type="4" LineColor="65280">'
        f'<Attributes><Attribute Name="Description" Id="0" Value="{description}"/></Attributes>'
        f'<Regions><RegionAttributeHeaders><AttributeHeader Id="9999" Name="Region"/>'
        f"</RegionAttributeHeaders>{''.join(regions)}</Regions><Plots/></Annotation>\n"
        for index, (name, description, regions) in enumerate(layers)
    ]
    return f'<Annotations MicronsPerPixel="0.499000">{"".join(texts)}</Annotations>\n'


def _write_imagescope(path: Path, shapes: list[Shape]) -> Path:
    layers = [
        (
            name,
            "",
            [
                imagescope_region(ring, negative=index > 0, number=index + 1)
                for index, ring in enumerate(rings)
            ],
        )
        for name, rings in shapes
    ]
    path.write_text(imagescope_file(*layers))
    return path


WRITERS = {
    "qupath.geojson": _write_geojson,
    "asap.xml": _write_asap,
    "imagescope.xml": _write_imagescope,
}
