"""How much of each tile the areas of each class cover.

The area that a polygon shares with a box is a sum over the polygon's edges (Green's theorem): each
edge, as far as it runs between the box's left and right side, counts the ground of the box above
itself, with the sign of its direction. That is exact, and an edge concerns only the boxes that it
crosses or runs below: a traced tumour of a million vertices takes a second or two, where
intersecting its polygon with each box took ten.
"""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

__all__ = ["class_coverage"]


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
    if len(boxes_N4) == 0:
        return np.zeros((0, len(geometries)), np.float32)
    box_areas_N = (boxes_N4[:, 2:] - boxes_N4[:, :2]).prod(axis=1)
    assert (box_areas_N > 0).all(), "boxes must have positive areas"
    areas_NC = np.zeros((len(boxes_N4), len(geometries)))
    sides_S2, side_of_box_N = np.unique(boxes_N4[:, [0, 2]], axis=0, return_inverse=True)
    side_of_box_N = side_of_box_N.reshape(-1)
    by_side_N = np.argsort(side_of_box_N, kind="stable")
    boxes_of_side = np.split(by_side_N, np.bincount(side_of_box_N).cumsum()[:-1])
    for column, geometry in enumerate(geometries):
        edges_E4 = _edges(geometry)
        left_E, right_E = edges_E4[:, [0, 2]].min(axis=1), edges_E4[:, [0, 2]].max(axis=1)
        longest_px = (right_E - left_E).max(initial=0)
        for (left, right), boxes_K in zip(sides_S2.tolist(), boxes_of_side, strict=True):
            first, end = np.searchsorted(left_E, [left - longest_px, right])
            near = first + np.flatnonzero(right_E[first:end] > left)
            areas_NC[boxes_K, column] = _shared_areas(
                _between(edges_E4[near], left, right), boxes_N4[boxes_K][:, [1, 3]]
            )
    share_NC: NDArray[np.float64] = np.clip(areas_NC / box_areas_N[:, None], 0, 1)
    # The last bits of a sum depend on the processor, and would make two stores of one slide differ.
    return share_NC.round(7).astype(np.float32)


def _edges(geometry: BaseGeometry) -> NDArray[np.float64]:
    """Return the edges of all rings, (E, 4) from x, y to x, y, ordered by their left ends.

    Outer rings turn so that their lower edges run to the right in an image, holes against them.
    """
    # Twice: a collection may hold multipolygons.
    parts = shapely.get_parts(shapely.get_parts(geometry))
    polygons = shapely.orient_polygons(
        parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON], exterior_cw=True
    )
    points_P2, ring_of_point = shapely.get_coordinates(
        shapely.get_rings(polygons), return_index=True
    )
    is_edge = ring_of_point[1:] == ring_of_point[:-1]
    edges_E4: NDArray[np.float64] = np.hstack([points_P2[:-1], points_P2[1:]])[is_edge]
    return edges_E4[np.argsort(edges_E4[:, [0, 2]].min(axis=1), kind="stable")]


def _between(edges_E4: NDArray[np.float64], left: float, right: float) -> NDArray[np.float64]:
    """Return what runs between two sides, (E, 3): signed width, upper and lower y, by upper y."""
    x_0, y_0, x_1, y_1 = edges_E4.T
    from_x, to_x = np.clip(x_0, left, right), np.clip(x_1, left, right)
    # Upright edges have no ground above them; dividing by 1 only avoids dividing by 0. Shares of
    # the width and no slopes: that of an edge 1e-300 px wide would overflow.
    width = np.where(x_0 == x_1, 1, x_1 - x_0)
    from_y = y_0 + (from_x - x_0) / width * (y_1 - y_0)
    to_y = y_1 + (to_x - x_1) / width * (y_1 - y_0)
    cut_E3: NDArray[np.float64] = np.stack(
        [to_x - from_x, np.minimum(from_y, to_y), np.maximum(from_y, to_y)], axis=1
    )
    cut_E3 = cut_E3[cut_E3[:, 0] != 0]
    return cut_E3[cut_E3[:, 1].argsort(kind="stable")]


def _shared_areas(
    cut_E3: NDArray[np.float64], boxes_tb_K2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the ground above the edges within each box of one column, as top and bottom."""
    width_E, upper_E, lower_E = cut_E3.T
    top_K, bottom_K = boxes_tb_K2.T
    # Edges below a box have all of its height above them; those above it have nothing of it.
    width_below = np.append(width_E[::-1].cumsum()[::-1], 0)
    n_above_K = np.searchsorted(upper_E, bottom_K)
    areas_K: NDArray[np.float64] = width_below[n_above_K] * (bottom_K - top_K)
    tallest_px = (lower_E - upper_E).max(initial=0)
    first_K = np.searchsorted(upper_E, top_K - tallest_px)
    for k in np.flatnonzero(first_K < n_above_K):
        near = cut_E3[first_K[k] : n_above_K[k]]
        areas_K[k] += _ground_above(near[near[:, 2] > top_K[k]], top_K[k], bottom_K[k])
    return areas_K


def _ground_above(cut_E3: NDArray[np.float64], top: float, bottom: float) -> float:
    """Sum over edges that all run above the bottom and below the top, at least in part."""
    width_E, upper_E, lower_E = cut_E3.T
    height_E = np.where(upper_E == lower_E, 1, lower_E - upper_E)
    upper_within_E, lower_within_E = np.maximum(upper_E, top), np.minimum(lower_E, bottom)
    share_below_E = (lower_E - lower_within_E) / height_E
    share_within_E = 1 - share_below_E - (upper_within_E - upper_E) / height_E
    middle_E = (upper_within_E + lower_within_E) / 2
    return float(width_E @ (share_within_E * (middle_E - top) + share_below_E * (bottom - top)))
