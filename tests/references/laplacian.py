"""Variance of the Laplacian, one pixel at a time (Pech-Pacheco et al. 2000)."""

import statistics

import numpy as np
from numpy.typing import NDArray

__all__ = ["laplacian_variance_loops"]


def laplacian_variance_loops(tile_HW3: NDArray[np.uint8]) -> float:
    """Return the population variance over grey levels rounded to integers, borders mirrored."""
    height, width = tile_HW3.shape[:2]
    grey = [
        [round(0.299 * int(r) + 0.587 * int(g) + 0.114 * int(b)) for r, g, b in row]
        for row in tile_HW3
    ]

    def at(y: int, x: int) -> int:
        y = abs(y) if y < height else 2 * height - 2 - y
        x = abs(x) if x < width else 2 * width - 2 - x
        return grey[y][x]

    return statistics.pvariance(
        at(y - 1, x) + at(y + 1, x) + at(y, x - 1) + at(y, x + 1) - 4 * at(y, x)
        for y in range(height)
        for x in range(width)
    )
