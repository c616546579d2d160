"""Coverage of a box by areas, exact in float64: cut into slabs in which no two edges cross.

Between two neighbouring heights of corners and crossings every edge is a straight line from one
side to the other, so each piece of ground is a trapezoid: its area is its width at mid-height times
its height. A point is inside an area where its outer ring winds around it and no hole does
(non-zero rule), and covered where any area holds it.
"""

from itertools import combinations, pairwise

__all__ = ["slab_coverage"]

Point = tuple[float, float]
Ring = list[Point]
# The outer ring and its holes.
Area = list[Ring]


def slab_coverage(
    areas: list[Area], box_xyxy: tuple[float, float, float, float], *, without: list[Area] = ()
) -> float:
    """Return the share of a box that is in any of the areas and in none of `without`."""
    left, top, right, bottom = box_xyxy
    rings = [ring for area in [*areas, *without] for ring in area]
    edges = [edge for ring in rings for edge in pairwise([*ring, ring[0]])]
    sides = [((left, top), (left, bottom)), ((right, top), (right, bottom))]
    heights = {top, bottom, *(y for edge in edges for _, y in edge)}
    heights |= {y for a, b in combinations([*edges, *sides], 2) for y in _crossing_heights(a, b)}
    covered = 0.0
    for above, below in pairwise(sorted(y for y in heights if top <= y <= bottom)):
        y = (above + below) / 2
        xs = sorted({left, right, *(min(max(x, left), right) for x in _at_height(edges, y))})
        for x_left, x_right in pairwise(xs):
            x = (x_left + x_right) / 2
            if _is_in_any(x, y, areas) and not _is_in_any(x, y, without):
                covered += (x_right - x_left) * (below - above)
    return covered / ((right - left) * (bottom - top))


def _crossing_heights(a: tuple[Point, Point], b: tuple[Point, Point]) -> list[float]:
    (x_0, y_0), (x_1, y_1) = a
    (x_2, y_2), (x_3, y_3) = b
    turn = (x_1 - x_0) * (y_3 - y_2) - (y_1 - y_0) * (x_3 - x_2)
    if turn == 0:
        return []
    along_a = ((x_2 - x_0) * (y_3 - y_2) - (y_2 - y_0) * (x_3 - x_2)) / turn
    along_b = ((x_2 - x_0) * (y_1 - y_0) - (y_2 - y_0) * (x_1 - x_0)) / turn
    return [y_0 + along_a * (y_1 - y_0)] if 0 <= along_a <= 1 and 0 <= along_b <= 1 else []


def _at_height(edges: list[tuple[Point, Point]], y: float) -> list[float]:
    return [
        x_0 + (y - y_0) / (y_1 - y_0) * (x_1 - x_0)
        for (x_0, y_0), (x_1, y_1) in edges
        if (y_0 > y) != (y_1 > y)
    ]


def _is_in_any(x: float, y: float, areas: list[Area]) -> bool:
    return any(
        _winding(x, y, outer) != 0 and all(_winding(x, y, hole) == 0 for hole in holes)
        for outer, *holes in areas
    )


def _winding(x: float, y: float, ring: Ring) -> int:
    winding = 0
    for (x_0, y_0), (x_1, y_1) in pairwise([*ring, ring[0]]):
        if (y_0 > y) != (y_1 > y) and x < x_0 + (y - y_0) / (y_1 - y_0) * (x_1 - x_0):
            winding += 1 if y_1 > y_0 else -1
    return winding
