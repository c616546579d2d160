"""Gaussian blur as SimCLRv2 samples it, without the taps that count for nothing.

Source: google-research/simclr, tf2/data_util.py `gaussian_blur` (commit 383d414): taps
exp(-x^2 / (2 sigma^2)), x = -radius..radius, normalised to sum 1, separable. Where we differ: the
border is mirrored unless zeros are asked for, which darken a frame of the width of the radius.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["blur"]


def blur(
    image_HW3: NDArray[np.uint8], *, sigma_px: float, radius_px: int, is_zero_padded: bool = False
) -> NDArray[np.uint8]:
    """Blur an image with a Gaussian of at most 2 * radius_px + 1 taps.

    Taps beyond four sigma weigh less than 1e-4 together and are left out. With them a sigma of 0.3
    takes ten times as long as one of 2: they are subnormal numbers, slow on every processor.

    Args:
        image_HW3: RGB image.
        sigma_px: standard deviation, pixels, above 0.
        radius_px: largest radius of the kernel; the published one is view_px // 10 // 2.
        is_zero_padded: whether the image is black beyond its border, as in the source.
    """
    assert sigma_px > 0.0, sigma_px
    radius = min(radius_px, math.ceil(4.0 * sigma_px))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_px) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    border = cv2.BORDER_CONSTANT if is_zero_padded else cv2.BORDER_REFLECT_101
    blurred_HW3 = cv2.sepFilter2D(image_HW3, -1, taps, taps, borderType=border)
    return np.asarray(blurred_HW3, dtype=np.uint8)
