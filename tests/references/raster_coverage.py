"""Coverage of boxes by a polygon, counted on a raster of points by the even-odd rule."""

__all__ = ["raster_coverage"]

Ring = list[tuple[float, float]]


def raster_coverage(
    rings: list[Ring], box_xyxy: tuple[float, float, float, float], *, n_points: int
) -> float:
    """Return the share of n_points x n_points raster points of a box that lie inside the rings."""
    left, top, right, bottom = box_xyxy
    n_inside = 0
    for row in range(n_points):
        y = top + (bottom - top) * (row + 0.5) / n_points
        for column in range(n_points):
            x = left + (right - left) * (column + 0.5) / n_points
            n_inside += _is_inside(x, y, rings)
    return n_inside / n_points**2


def _is_inside(x: float, y: float, rings: list[Ring]) -> bool:
    crossings = 0
    for ring in rings:
        for (x_a, y_a), (x_b, y_b) in zip(ring, ring[1:] + ring[:1], strict=True):
            if (y_a > y) != (y_b > y):
                crossings += x < x_a + (y - y_a) / (y_b - y_a) * (x_b - x_a)
    return crossings % 2 == 1
