"""GeoJSON as QuPath writes it.

A file holds a FeatureCollection, a list of features or one feature, in pixels (RFC 7946 speaks of
degrees). A class is `properties.classification.name` (or `.names`, joined as QuPath does), else
`properties.name`. The rings of a polygon after its first are holes.
"""

import json
from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from medsimclr.errors import LabelError
from medsimclr.slides.annotations.class_names import class_name
from medsimclr.slides.annotations.faults import faulty, short
from medsimclr.slides.annotations.polygons import checked_ring, polygon, union

__all__ = ["read_geojson"]


def read_geojson(content: bytes, *, file_name: str) -> dict[str, BaseGeometry]:
    """Return the area of each class, the union of its polygons, in level-0 pixels.

    Raises:
        LabelError: it is no GeoJSON of this kind; names the file and the feature.
    """
    try:
        document: object = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{file_name} is no JSON file: {error}. Export it anew.") from error
    areas: dict[str, list[BaseGeometry]] = {}
    for index, feature in enumerate(_features(document, file_name=file_name)):
        try:
            name, parts = _read_feature(feature)
        except (ValueError, shapely.GEOSException) as error:
            raise faulty(file_name, f"feature {index}", error) from error
        except RecursionError as error:
            deep = "it is nested too deep"
            raise faulty(file_name, f"feature {index}", deep) from error
        if name is not None and parts:
            areas.setdefault(name, []).extend(parts)
    united = {}
    for name, parts in sorted(areas.items()):
        try:
            united[name] = union(parts)
        except (ValueError, shapely.GEOSException) as error:
            raise faulty(file_name, f"class {name!r}", error) from error
    return united


def _features(document: object, *, file_name: str) -> list[object]:
    if isinstance(document, list):
        return document
    if isinstance(document, dict):
        if document.get("type") == "Feature":
            return [document]
        features = document.get("features")
        if document.get("type") == "FeatureCollection" and isinstance(features, list):
            return features
    raise LabelError(
        f"{file_name} must hold a GeoJSON FeatureCollection, a list of features or one feature. "
        "In QuPath: File, Export objects as GeoJSON."
    )


def _read_feature(feature: object) -> tuple[str | None, list[BaseGeometry]]:
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        raise ValueError(f"expected an object of type 'Feature', got {short(feature)}")
    properties = feature.get("properties") or {}
    if not isinstance(properties, dict):
        raise ValueError(f"properties must be an object, got {short(properties)}")
    areas = [polygon(rings) for rings in _polygons(feature.get("geometry"))]
    return _class_of(properties), [area for area in areas if area.area > 0]


def _class_of(properties: dict[str, object]) -> str | None:
    classification = properties.get("classification")
    if not isinstance(classification, dict):
        return class_name(properties.get("name"))
    names = classification.get("names")
    if classification.get("name") is None and isinstance(names, list) and names:
        return class_name(": ".join(str(part) for part in names))
    return class_name(classification.get("name"))


def _polygons(geometry: object) -> Iterator[list[NDArray[np.float64]]]:
    """Yield the rings of each polygon of a geometry; nothing for points and lines."""
    if geometry is None:
        return
    if not isinstance(geometry, dict) or not isinstance(geometry.get("type"), str):
        raise ValueError(f"geometry must be an object with a type, got {short(geometry)}")
    if geometry["type"] == "GeometryCollection":
        for member in _list(geometry.get("geometries"), "geometries must be a list"):
            yield from _polygons(member)
    elif geometry["type"] == "MultiPolygon":
        for rings in _list(geometry.get("coordinates"), "coordinates must be a list"):
            yield _rings(rings)
    elif geometry["type"] == "Polygon":
        yield _rings(geometry.get("coordinates"))


def _rings(rings: object) -> list[NDArray[np.float64]]:
    if not isinstance(rings, list) or not rings:
        raise ValueError(f"a polygon must be a list of rings, got {short(rings)}")
    return [_ring(ring) for ring in rings]


def _ring(ring: object) -> NDArray[np.float64]:
    try:
        points = np.array(_list(ring, "no list"), np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.empty((0, 0))
    # A third number is a height, which RFC 7946 allows.
    if points.ndim != 2 or points.shape[1] not in (2, 3) or len(points) < 3:
        raise ValueError(f"a ring must be 3 or more points [x, y], got {short(ring)}")
    return checked_ring(points[:, :2])


def _list(value: object, complaint: str) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"{complaint}, got {short(value)}")
    return value
