"""From rings of points to valid areas, and from many areas to one.

Outlines that people or programs traced cross and touch themselves; GEOS answers such polygons with
wrong areas or errors, so every area is made valid once, here.
"""

from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

__all__ = ["checked_ring", "cut", "ellipse", "polygon", "union"]

# Far beyond any slide; past 1e15 the areas would lose their digits.
_MAX_COORDINATE_PX = 1e9
# Chosen here: a ring with half a million crossings took 13 s and 1 GB, one with two million 130 s.
_MAX_CROSSINGS = 500_000
_SAMPLED_PAIRS = 400_000
_ELLIPSE_POINTS = 720


def checked_ring(points_P2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the points of a ring, (P, 2) x and y, if all are numbers of pixels.

    Raises:
        ValueError: a coordinate is not finite or beyond 1e9.
    """
    # not <= rather than >: a NaN compares as False.
    is_wrong_P = ~(np.abs(points_P2) <= _MAX_COORDINATE_PX).all(axis=1)
    if is_wrong_P.any():
        index = int(is_wrong_P.argmax())
        x, y = points_P2[index].tolist()
        raise ValueError(
            f"a coordinate must be a number of pixels within {_MAX_COORDINATE_PX:.0f}, got "
            f"({x:g}, {y:g}) in point {index}"
        )
    return points_P2


def polygon(rings: Sequence[NDArray[np.float64]]) -> BaseGeometry:
    """Return the valid area of an outer ring less its holes; it may be empty.

    Args:
        rings: the outer ring, then the holes; each (P, 2) with P at least 3, closed or not.

    Raises:
        ValueError: the rings cross themselves too often to be outlines.
    """
    outer, *holes = [shapely.linearrings(ring_P2) for ring_P2 in rings]
    area = shapely.polygons(outer, holes or None)
    if shapely.is_valid(area):
        return cast(BaseGeometry, area)
    _check_crossings([outer, *holes])
    # "structure" keeps all that a ring winds around; "linework" punches a hole where a lasso
    # overlaps itself.
    return _only_areas(shapely.make_valid(area, method="structure", keep_collapsed=False))


def ellipse(corners_P2: NDArray[np.float64]) -> BaseGeometry:
    """Return the ellipse that fills the bounds of the given points."""
    low, high = corners_P2.min(axis=0), corners_P2.max(axis=0)
    angle = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)
    # Points a little outside make the polygon's area that of the ellipse.
    grow = np.sqrt(2 * np.pi / (_ELLIPSE_POINTS * np.sin(2 * np.pi / _ELLIPSE_POINTS)))
    circle_P2 = np.stack([np.cos(angle), np.sin(angle)], axis=1) * grow
    return polygon([(low + high) / 2 + circle_P2 * (high - low) / 2])


def union(areas: Sequence[BaseGeometry]) -> BaseGeometry:
    """Return the ground that any of the areas covers.

    Raises:
        ValueError: their outlines cross each other too often.
    """
    if len(areas) == 1:
        return areas[0]
    _check_crossings(_rings_of(areas))
    return _only_areas(shapely.union_all(areas))


def cut(area: BaseGeometry, holes: Sequence[BaseGeometry]) -> BaseGeometry:
    """Return the area less what any of the holes covers.

    Raises:
        ValueError: their outlines cross each other too often.
    """
    if not holes:
        return area
    hole = union(holes)
    _check_crossings(_rings_of([area, hole]))
    return _only_areas(shapely.difference(area, hole))


def _rings_of(areas: Iterable[BaseGeometry]) -> Sequence[BaseGeometry]:
    return cast(Sequence[BaseGeometry], shapely.get_rings(shapely.get_parts(list(areas))))


def _only_areas(geometry: BaseGeometry) -> BaseGeometry:
    """Drop the points and lines that may be left where areas only touch."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    parts = shapely.get_parts(geometry)
    return cast(BaseGeometry, shapely.union_all(parts[shapely.area(parts) > 0]))


def _check_crossings(rings: Sequence[BaseGeometry]) -> None:
    """Refuse rings whose edges cross so often that their union would take hours or all memory.

    A scribble of 100,000 edges may cross itself a billion times. The number is estimated from
    random pairs of edges; outlines of real areas have next to none among them. Five pairs must be
    seen to cross, so that of E edges up to about E^2 / 160,000 crossings pass where these are more
    than the limit: six million of a million edges.
    """
    points_P2, ring_of_point = shapely.get_coordinates(rings, return_index=True)
    is_edge = ring_of_point[1:] == ring_of_point[:-1]
    start_E2, end_E2 = points_P2[:-1][is_edge], points_P2[1:][is_edge]
    n_pairs = len(start_E2) ** 2 / 2
    if n_pairs <= _MAX_CROSSINGS:
        return
    pick = np.random.default_rng(0).integers(len(start_E2), size=(2, _SAMPLED_PAIRS))
    a, b, c, d = start_E2[pick[0]], end_E2[pick[0]], start_E2[pick[1]], end_E2[pick[1]]
    crosses = (_side(a, b, c) * _side(a, b, d) < 0) & (_side(c, d, a) * _side(c, d, b) < 0)
    n_seen = int(crosses.sum())
    # A few hits may be chance where there are many edges.
    if n_seen >= 5 and n_seen / _SAMPLED_PAIRS * n_pairs > _MAX_CROSSINGS:
        raise ValueError(
            f"its outlines must not cross themselves or each other more than {_MAX_CROSSINGS:,} "
            f"times, got about {n_seen / _SAMPLED_PAIRS * n_pairs:.1e} crossings"
        )


def _side(
    a_N2: NDArray[np.float64], b_N2: NDArray[np.float64], point_N2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return on which side of the lines a-b the points lie: the sign of the cross product."""
    ab_N2, ap_N2 = b_N2 - a_N2, point_N2 - a_N2
    side_N: NDArray[np.float64] = np.sign(ab_N2[:, 0] * ap_N2[:, 1] - ab_N2[:, 1] * ap_N2[:, 0])
    return side_N
