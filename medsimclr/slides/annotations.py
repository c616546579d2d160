"""Annotations: GeoJSON polygons as QuPath writes them, and how much of each tile they cover.

Coordinates are level-0 pixels, x before y (RFC 7946 speaks of degrees; QuPath of pixels). A file
holds a FeatureCollection, a list of features or one feature.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from medsimclr.errors import LabelError

__all__ = ["class_coverage", "read_geojson"]

# Chosen here: below this many vertices one intersection costs less than cutting further.
_MAX_VERTICES = 256
# 4096 x 4096 pieces: an end to cutting where hundreds of vertices crowd into one pixel.
_MAX_CUTS = 24


def read_geojson(path: Path) -> dict[str, BaseGeometry]:
    """Return the area of each class, the union of its polygons, in level-0 pixels.

    A class is `properties.classification.name` (or `.names`, joined as QuPath does), else
    `properties.name`. Features without a name, and points and lines, are passed over. Rings that
    cross themselves, as lassos do, are made valid with all their area kept.

    Raises:
        LabelError: The file is no GeoJSON of this kind; names the file and the feature.
    """
    try:
        document: object = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path.name} is no JSON file: {error}. Export it anew.") from error
    except OSError as error:
        raise LabelError(f"{path.name} cannot be read: {error.strerror}.") from error
    parts: dict[str, list[BaseGeometry]] = {}
    for index, feature in enumerate(_features(document, file_name=path.name)):
        try:
            name, areas = _read_feature(feature)
        except ValueError as error:
            raise LabelError(
                f"{path.name}, feature {index}: {error}. Mend or remove that annotation."
            ) from error
        if name is not None and areas:
            parts.setdefault(name, []).extend(areas)
    return {name: shapely.union_all(areas) for name, areas in sorted(parts.items())}


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
        raise ValueError(f"expected an object of type 'Feature', got {_short(feature)}")
    properties = feature.get("properties") or {}
    if not isinstance(properties, dict):
        raise ValueError(f"properties must be an object, got {_short(properties)}")
    return _class_name(properties), _areas(feature.get("geometry"))


def _class_name(properties: dict[str, object]) -> str | None:
    classification = properties.get("classification")
    if isinstance(classification, dict):
        name = classification.get("name")
        names = classification.get("names")
        if name is None and isinstance(names, list) and names:
            name = ": ".join(str(part) for part in names)
    else:
        name = properties.get("name")
    if name is None:
        return None
    if not isinstance(name, str):
        raise ValueError(f"the class name must be text, got {_short(name)}")
    return name.strip() or None


def _areas(geometry: object) -> list[BaseGeometry]:
    """Return the valid polygons of a GeoJSON geometry; none for points and lines."""
    if geometry is None:
        return []
    if not isinstance(geometry, dict) or not isinstance(geometry.get("type"), str):
        raise ValueError(f"geometry must be an object with a type, got {_short(geometry)}")
    coordinates = geometry.get("coordinates")
    if geometry["type"] == "Polygon":
        polygons = [_polygon(coordinates)]
    elif geometry["type"] == "MultiPolygon":
        if not isinstance(coordinates, list):
            raise ValueError(f"coordinates must be a list, got {_short(coordinates)}")
        polygons = [_polygon(rings) for rings in coordinates]
    else:
        polygons = []
    return [polygon for polygon in polygons if polygon.area > 0]


def _polygon(rings: object) -> BaseGeometry:
    if not isinstance(rings, list) or not rings:
        raise ValueError(f"a polygon must be a list of rings, got {_short(rings)}")
    outer, *holes = [_ring(ring) for ring in rings]
    polygon = shapely.polygons(outer, holes or None)
    if shapely.is_valid(polygon):
        return cast(BaseGeometry, polygon)
    # "structure" keeps all that a ring encloses; "linework" punches a hole where a lasso overlaps
    # itself.
    return cast(BaseGeometry, shapely.make_valid(polygon, method="structure", keep_collapsed=False))


def _ring(ring: object) -> BaseGeometry:
    try:
        points_P2 = np.array([point[:2] for point in cast(list[list[float]], ring)], np.float64)
    except (TypeError, ValueError, KeyError, OverflowError):
        points_P2 = np.empty((0, 0))
    if points_P2.ndim != 2 or points_P2.shape[1] != 2 or len(points_P2) < 3:
        raise ValueError(f"a ring must be 3 or more points [x, y], got {_short(ring)}")
    # 1e9 px is far beyond any slide; past 1e15 the areas would lose their digits.
    if not (np.abs(points_P2) <= 1e9).all():
        raise ValueError("a coordinate is no number of pixels within 1e9")
    return cast(BaseGeometry, shapely.linearrings(points_P2))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def class_coverage(
    geometries: Sequence[BaseGeometry], boxes_level0_xyxy: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the fraction of each box that each class covers.

    Args:
        geometries: C valid areas in level-0 pixels, as read_geojson gives them.
        boxes_level0_xyxy: (N, 4) left, top, right, bottom in level-0 pixels; positive areas.

    Returns:
        (N, C) in 0..1; classes may overlap, so a row may sum to more than 1.
    """
    boxes_N4 = np.asarray(boxes_level0_xyxy, np.float64).reshape(-1, 4)
    box_areas_N = (boxes_N4[:, 2] - boxes_N4[:, 0]) * (boxes_N4[:, 3] - boxes_N4[:, 1])
    assert (box_areas_N > 0).all(), "boxes must have positive areas"
    boxes_N = np.asarray(shapely.box(*boxes_N4.T), dtype=object)
    coverage_NC = np.zeros((len(boxes_N4), len(geometries)), np.float64)
    for column, geometry in enumerate(geometries):
        _add_areas(geometry, boxes_N, np.arange(len(boxes_N)), coverage_NC[:, column], _MAX_CUTS)
    return np.clip(coverage_NC / box_areas_N[:, None], 0, 1).astype(np.float32)


def _add_areas(
    geometry: BaseGeometry,
    boxes_N: NDArray[np.object_],
    candidates_K: NDArray[np.intp],
    areas_N: NDArray[np.float64],
    cuts_left: int,
) -> None:
    """Add the area that each candidate box shares with the geometry to areas_N.

    Boxes inside a polygon count whole. For those on its border a large polygon is cut in halves
    until its pieces have few vertices: a traced tumour of 100,000 vertices costs milliseconds a box
    otherwise.
    """
    polygons_P = shapely.get_parts(geometry)  # pieces of lines at a cut have no area and no matter
    tree = shapely.STRtree(boxes_N[candidates_K])
    polygon_of_pair, candidate_of_pair = tree.query(polygons_P)
    box_of_pair = candidates_K[candidate_of_pair]
    is_small_P = shapely.get_num_coordinates(polygons_P) <= (_MAX_VERTICES if cuts_left else np.inf)
    is_small_pair = is_small_P[polygon_of_pair]
    small_boxes = box_of_pair[is_small_pair]
    shared = shapely.intersection(polygons_P[polygon_of_pair[is_small_pair]], boxes_N[small_boxes])
    np.add.at(areas_N, small_boxes, shapely.area(shared))
    for index in np.flatnonzero(~is_small_P):
        polygon = polygons_P[index]
        touched_K = box_of_pair[polygon_of_pair == index]
        shapely.prepare(polygon)
        is_inside_K = shapely.contains_properly(polygon, boxes_N[touched_K])
        inside_K, border_K = touched_K[is_inside_K], touched_K[~is_inside_K]
        areas_N[inside_K] += shapely.area(boxes_N[inside_K])
        if len(border_K):
            for half in _halves(polygon):
                _add_areas(half, boxes_N, border_K, areas_N, cuts_left - 1)


def _halves(polygon: BaseGeometry) -> list[BaseGeometry]:
    """Cut a polygon across the longer side of its bounds."""
    left, top, right, bottom = shapely.bounds(polygon)
    x, y = (left + right) / 2, (top + bottom) / 2
    if right - left >= bottom - top:
        frames = [(left, top, x, bottom), (x, top, right, bottom)]
    else:
        frames = [(left, top, right, y), (left, y, right, bottom)]
    return [shapely.intersection(polygon, shapely.box(*frame)) for frame in frames]
