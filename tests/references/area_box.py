"""The mean of an image over one box, pixel by pixel."""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["mean_over_box"]


def mean_over_box(
    image_HW3: NDArray[np.uint8], *, left: float, top: float, right: float, bottom: float
) -> NDArray[np.float64]:
    """Return the mean colour of a box whose edges may lie between pixels, (3,)."""
    total_3 = np.zeros(3)
    for y in range(math.floor(top), math.ceil(bottom)):
        for x in range(math.floor(left), math.ceil(right)):
            share = (min(x + 1, right) - max(x, left)) * (min(y + 1, bottom) - max(y, top))
            total_3 += share * image_HW3[y, x].astype(np.float64)
    return total_3 / ((right - left) * (bottom - top))
