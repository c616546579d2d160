"""Pixel arithmetic that every reader shares: background colour and area averaging.

Shapes: rgba_HW4 and rgb_HW3 are uint8; in xy order are only sizes.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["area_average", "fit_within", "on_background"]

# 64 MB of RGBA; the tallest band that a wide level without pyramid may bring into memory at once.
_BAND_PX = 1 << 24


def on_background(
    rgba_HW4: NDArray[np.uint8], *, background_rgb: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Composite straight (not premultiplied) RGBA on one colour, rounded to the nearest integer."""
    rgb_HW3 = np.asarray(cv2.cvtColor(rgba_HW4, cv2.COLOR_RGBA2RGB), np.uint8)
    alpha_HW = rgba_HW4[:, :, 3]
    if alpha_HW.min(initial=255) == 255:
        return rgb_HW3
    alpha_HW1 = alpha_HW[:, :, None].astype(np.uint32)
    background_3 = np.array(background_rgb, np.uint32)
    blended_HW3 = (rgb_HW3 * alpha_HW1 + background_3 * (255 - alpha_HW1) + 127) // 255
    return blended_HW3.astype(np.uint8)


def fit_within(size_xy: tuple[int, int], *, max_px: int) -> tuple[int, int]:
    """Return the size of the same shape whose longer side is max_px; never larger than size_xy."""
    scale = min(1.0, max_px / max(size_xy))
    return max(1, round(size_xy[0] * scale)), max(1, round(size_xy[1] * scale))


def area_average(
    read_rows: Callable[[int, int], NDArray[np.uint8]],
    *,
    size_xy: tuple[int, int],
    target_xy: tuple[int, int],
    band_px: int = _BAND_PX,
) -> NDArray[np.uint8]:
    """Shrink an image by area averaging, reading it in bands so that it never lies whole in memory.

    Each target pixel is the mean over its rectangle of the source, partly covered pixels weighted
    by the part covered.

    Args:
        read_rows: (first row, row count) -> uint8 (rows, width, 3).
        size_xy: Source width and height.
        target_xy: Target width and height, neither larger than the source's.
        band_px: Most source pixels in memory at once.

    Returns:
        uint8 (target height, target width, 3).
    """
    (width, height), (target_width, target_height) = size_xy, target_xy
    assert 1 <= target_width <= width, (size_xy, target_xy)
    assert 1 <= target_height <= height, (size_xy, target_xy)
    if size_xy == target_xy and width * height <= band_px:
        return read_rows(0, height)
    band_rows = max(1, min(height, band_px // width))
    ratio = height / target_height
    mean_HW3 = np.zeros((target_height, target_width, 3), np.float32)
    for first in range(0, height, band_rows):
        n_rows = min(band_rows, height - first)
        band_HW3 = read_rows(first, n_rows).astype(np.float32)
        narrow_HW3 = cv2.resize(band_HW3, (target_width, n_rows), interpolation=cv2.INTER_AREA)
        top = int(first / ratio)
        bottom = min(target_height, int(np.ceil((first + n_rows) / ratio)))
        starts_T1 = np.arange(top, bottom)[:, None] * ratio
        rows_R = np.arange(first, first + n_rows)
        overlap_TR = np.minimum(rows_R + 1, starts_T1 + ratio) - np.maximum(rows_R, starts_T1)
        weights_TR = (np.clip(overlap_TR, 0, None) / ratio).astype(np.float32)
        mean_HW3[top:bottom] += np.tensordot(weights_TR, narrow_HW3, axes=1)
    return np.clip(np.rint(mean_HW3), 0, 255).astype(np.uint8)
