"""How much of each tile the areas of each class cover."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

__all__ = ["class_coverage"]

# Chosen here: below this many vertices one intersection costs less than cutting further.
_MAX_VERTICES = 256
# 4096 x 4096 pieces: an end to cutting where hundreds of vertices crowd into one pixel.
_MAX_CUTS = 24


def class_coverage(
    geometries: Sequence[BaseGeometry], boxes_level0_xyxy: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the fraction of each box that each class covers.

    Args:
        geometries: C valid areas in level-0 pixels, as read_annotation gives them.
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
