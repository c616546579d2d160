"""Focus of a tile: the variance of its Laplacian (Pech-Pacheco et al. 2000, LAPV).

Sharp edges make the second derivative vary; blur and blank glass do not. The figure depends on the
tissue and on the mpp: compare it within a slide or a cohort of one scale, never as an absolute.
The paper divides its kernel by 6; ours is OpenCV's 0 1 0 / 1 -4 1 / 0 1 0, so scores are 36 times
the paper's. Borders are mirrored without repeating the edge pixel.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["focus_score"]


def focus_score(tile_HW3: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian of the grey tile, in squared grey levels (0..255)."""
    grey_HW = cv2.cvtColor(np.ascontiguousarray(tile_HW3), cv2.COLOR_RGB2GRAY)
    laplacian_HW = cv2.Laplacian(grey_HW, cv2.CV_16S, ksize=1, borderType=cv2.BORDER_REFLECT_101)
    # Both sums are of integers and exact; cv2.meanStdDev takes twenty times as long.
    mean = cv2.sumElems(laplacian_HW)[0] / laplacian_HW.size
    mean_square = cv2.norm(laplacian_HW, cv2.NORM_L2SQR) / laplacian_HW.size
    return max(float(mean_square - mean**2), 0.0)
