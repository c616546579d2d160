"""Tissue in boxes, one mask pixel at a time."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["tissue_fraction_loops"]


def tissue_fraction_loops(mask_HW: NDArray[np.bool_], boxes_xyxy: list[list[float]]) -> list[float]:
    """Return the sum of overlaps with True pixels over the area of each box."""
    fractions = []
    for left, top, right, bottom in boxes_xyxy:
        tissue = 0.0
        for y, x in np.argwhere(mask_HW).tolist():
            overlap_x = min(right, x + 1) - max(left, x)
            overlap_y = min(bottom, y + 1) - max(top, y)
            tissue += max(overlap_x, 0.0) * max(overlap_y, 0.0)
        fractions.append(tissue / ((right - left) * (bottom - top)))
    return fractions
