"""Stained pixels, one at a time in float64, without the median."""

import math
import statistics

import numpy as np
from numpy.typing import NDArray

__all__ = ["stained_loops"]


def stained_loops(
    rgb_HW3: NDArray[np.uint8], glass_rgb: tuple[float, float, float]
) -> list[list[bool]]:
    """Return where density is coloured (0.025) or dense (0.0625), black pixels excepted."""
    rows = []
    for row in rgb_HW3.tolist():
        answers = []
        for pixel in row:
            density = [
                -math.log10((level + 1) / (glass + 1))
                for level, glass in zip(pixel, glass_rgb, strict=True)
            ]
            is_stained = max(density) - min(density) > 0.025 or statistics.mean(density) > 0.0625
            answers.append(is_stained and max(pixel) >= 30)
        rows.append(answers)
    return rows
