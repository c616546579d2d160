"""Area averaging one target pixel and one source pixel at a time."""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["area_average_loops"]


def area_average_loops(
    image_HW3: NDArray[np.uint8], target_xy: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the unrounded mean over each target pixel's rectangle."""
    height, width = image_HW3.shape[:2]
    step_x, step_y = width / target_xy[0], height / target_xy[1]
    out_HW3 = np.zeros((target_xy[1], target_xy[0], 3))
    for row in range(target_xy[1]):
        for column in range(target_xy[0]):
            left, top = column * step_x, row * step_y
            right, bottom = left + step_x, top + step_y
            for y in range(int(top), min(height, math.ceil(bottom))):
                for x in range(int(left), min(width, math.ceil(right))):
                    part_x = min(x + 1, right) - max(x, left)
                    part_y = min(y + 1, bottom) - max(y, top)
                    share = max(part_x, 0) * max(part_y, 0) / (step_x * step_y)
                    out_HW3[row, column] += share * image_HW3[y, x].astype(np.float64)
    return out_HW3
