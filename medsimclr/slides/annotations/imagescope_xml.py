"""ImageScope XML: Annotations / Annotation / Regions / Region / Vertices / Vertex.

An Annotation is a layer. A class is the layer's Name, else its Attribute "Description", else the
Text of the single region, which is how ImageScope's users name areas in one unnamed layer.
A region with NegativeROA="1" is drawn with the negative pen: it is cut out of the other regions of
its layer. Region Type 0 is an outline, 1 a rectangle, 2 an ellipse, kept as two corners of its
bounds; others are arrows, rulers and the like.
"""

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from medsimclr.errors import LabelError
from medsimclr.slides.annotations.class_names import class_name
from medsimclr.slides.annotations.faults import faulty, short
from medsimclr.slides.annotations.outline import Outline
from medsimclr.slides.annotations.polygons import cut, ellipse, polygon, union
from medsimclr.slides.annotations.xml_elements import read_elements

__all__ = ["read_imagescope"]

# Programs that imitate ImageScope write "Polygon" or nothing.
_OUTLINES = frozenset({"0", "", "Polygon"})
_RECTANGLE, _ELLIPSE = "1", "2"


class _Layer:
    def __init__(self, attributes: dict[str, str], *, index: int) -> None:
        self.name = attributes.get("Name", "")
        self.where = f"layer {index} ({short(self.name)})"
        self.attributes: dict[str, str] = {}
        self.regions: list[Outline] = []


class _Reader:
    def __init__(self, file_name: str) -> None:
        self.file_name = file_name
        self.layers: list[_Layer] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "Vertex":
            self._add_vertex(attributes)
        elif tag == "Coordinate":
            raise LabelError(
                f"{self.file_name} must hold Vertex elements as ImageScope XML does, got a "
                "Coordinate as in ASAP XML, whose outermost element is ASAP_Annotations; "
                "export it anew."
            )
        elif tag == "Annotation":
            self.layers.append(_Layer(attributes, index=len(self.layers)))
        elif not self.layers:
            return
        elif tag == "Region":
            regions = self.layers[-1].regions
            where = f"{self.layers[-1].where}, region {short(attributes.get('Id', ''))}"
            regions.append(Outline(where, attributes))
        # Regions may have attributes too; the layer's stand before its first region.
        elif tag == "Attribute" and not self.layers[-1].regions:
            self.layers[-1].attributes[attributes.get("Name", "")] = attributes.get("Value", "")

    def _add_vertex(self, attributes: dict[str, str]) -> None:
        if not self.layers or not self.layers[-1].regions:
            raise faulty(self.file_name, "a Vertex", "it must stand in a Region, got it outside")
        region = self.layers[-1].regions[-1]
        try:
            region.add_point(attributes)
        except ValueError as error:
            raise faulty(self.file_name, region.where, error) from error


def read_imagescope(content: bytes, *, file_name: str) -> dict[str, BaseGeometry]:
    """Return the area of each class, in level-0 pixels.

    Raises:
        LabelError: it is no ImageScope XML; names the file, the layer and the region.
    """
    reader = _Reader(file_name)
    read_elements(content, start=reader.start, file_name=file_name)
    areas: dict[str, list[BaseGeometry]] = {}
    where = ""
    try:
        for layer in reader.layers:
            positive: dict[str, list[BaseGeometry]] = {}
            negative: list[BaseGeometry] = []
            for region in layer.regions:
                where = region.where
                area = _area(region)
                name = _class_of(layer, region)
                if area is None:
                    continue
                if region.attributes.get("NegativeROA") == "1":
                    negative.append(area)
                elif name is not None:
                    positive.setdefault(name, []).append(area)
            where = layer.where
            for name, parts in positive.items():
                areas.setdefault(name, []).append(cut(union(parts), negative))
        where = "its layers"
        united = {name: union(parts) for name, parts in sorted(areas.items())}
    except (ValueError, shapely.GEOSException) as error:
        raise faulty(file_name, where, error) from error
    return {name: area for name, area in united.items() if area.area > 0}


def _class_of(layer: _Layer, region: Outline) -> str | None:
    names = (layer.name, layer.attributes.get("Description"), region.attributes.get("Text"))
    return next((name for name in map(class_name, names) if name is not None), None)


def _area(region: Outline) -> BaseGeometry | None:
    kind = region.attributes.get("Type", "")
    points_P2 = region.points()
    if kind == _ELLIPSE and 2 <= len(points_P2) <= 4:
        area = ellipse(points_P2)
    elif kind == _RECTANGLE and len(points_P2) == 2:
        area = polygon([_corners(points_P2)])
    elif kind in (_RECTANGLE, _ELLIPSE, *_OUTLINES) and len(points_P2) >= 3:
        area = polygon([points_P2])
    else:
        return None
    return area if area.area > 0 else None


def _corners(opposite_22: NDArray[np.float64]) -> NDArray[np.float64]:
    (left, top), (right, bottom) = opposite_22
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
