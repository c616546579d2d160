"""What marks tissue on a thumbnail, and the share of a mask in boxes.

Brightfield (H&E, IHC, any dye): a pixel is tissue by the colour of its optical density relative to
the slide's own glass, since dyes absorb one colour more than another while dust, shadows and the
edge of the coverslip absorb all alike; a pixel without colour must be clearly darker than glass.
Fluorescence: a pixel is tissue by its brightness above the dark ground. The thresholds are fixed:
Otsu's, tried first, follows the darkest dye and loses pale stroma, and divides a blank slide into
two halves of noise. Pen ink is coloured like dyes; `medsimclr.slides.areas` takes it out.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from medsimclr.slides.density import (
    GLASS_LEAST_LEVEL,
    density_table,
    highest_channel,
    lowest_channel,
)

__all__ = [
    "BLACK_LEVEL",
    "COLOUR_CLOSING_PX",
    "DARK_GROUND_LEVEL",
    "GROUND_PERCENTILE",
    "LEAST_COLOUR_OD",
    "LEAST_DARK_SHARE",
    "LEAST_GREY_OD",
    "LEAST_SIGNAL_LEVELS",
    "LEAST_SPECK_PX",
    "MOST_GLASS_SHARE",
    "SIGNAL_BLUR_PX",
    "SIGNAL_CLOSING_PX",
    "has_dark_ground",
    "joined",
    "signal_mask",
    "stain_mask",
    "tissue_fraction",
]

# Chosen here on H&E from six sources, Giemsa and DAPI: pale stroma counts, glass (99th percentile
# 0.007) does not. Optical density is log10.
LEAST_COLOUR_OD = 0.025
"""Least spread of the channels' densities that is a dye."""
LEAST_GREY_OD = 0.0625
"""Least mean density of the channels that is tissue without colour."""
LEAST_SIGNAL_LEVELS = 8
"""Grey levels of smoothed fluorescence above the darkest ground."""
BLACK_LEVEL = 30
"""Pixels below this grey level in every channel carry no colour: padding, folds, black ink."""
DARK_GROUND_LEVEL = 60
"""Ground of fluorescence is darker than this grey level in every channel."""
LEAST_SPECK_PX = 12
"""Smaller specks are no tissue, pixels of the thumbnail."""
# Fibres lie close together; stained nuclei of one tissue lie up to some 20 px apart on the dark.
COLOUR_CLOSING_PX = 5
"""Gaps of brightfield tissue up to this breadth are closed, pixels of the thumbnail."""
SIGNAL_CLOSING_PX = 21
"""Gaps of fluorescent tissue up to this breadth are closed, pixels of the thumbnail."""

SIGNAL_BLUR_PX = 2.0
"""Standard deviation of the blur that smoothes fluorescence, pixels of the thumbnail."""
GROUND_PERCENTILE = 5
"""Percentile of the smoothed grey levels that is the darkest ground of fluorescence."""
LEAST_DARK_SHARE = 0.1
"""Fluorescence has a dark ground on more than this share of the pixels,"""
MOST_GLASS_SHARE = 0.02
"""and what would be glass on less than this one."""

# Densities in thousandths fit int16, for which OpenCV has vector code.
_PER_OD = 1000
_ROWS_AT_ONCE = 64


def has_dark_ground(rgb_HW3: NDArray[np.uint8]) -> bool:
    """Tell fluorescence from brightfield, black scanner padding around bright glass included."""
    sample_HW3 = np.ascontiguousarray(rgb_HW3[::2, ::2])
    is_glass_HW = lowest_channel(sample_HW3) > GLASS_LEAST_LEVEL
    is_dark_HW = highest_channel(sample_HW3) < DARK_GROUND_LEVEL
    return bool(is_dark_HW.mean() > LEAST_DARK_SHARE and is_glass_HW.mean() < MOST_GLASS_SHARE)


def signal_mask(rgb_HW3: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where the brightest channel, smoothed, stands out from the darkest ground."""
    smooth_HW = cv2.GaussianBlur(highest_channel(rgb_HW3), (0, 0), SIGNAL_BLUR_PX)
    ground = int(np.percentile(smooth_HW[::2, ::2], GROUND_PERCENTILE))
    return np.asarray(smooth_HW > min(ground + LEAST_SIGNAL_LEVELS, 255))


def stain_mask(rgb_HW3: NDArray[np.uint8], *, glass_3: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where optical density, after a median against noise, is coloured or high.

    Args:
        rgb_HW3: Contiguous RGB.
        glass_3: Colour of bare glass, grey levels.
    """
    smooth_HW3 = np.asarray(cv2.medianBlur(rgb_HW3, 3), np.uint8)
    table_256 = np.round(density_table(glass_3) * _PER_OD).astype(np.int16)
    mask_HW = np.empty(rgb_HW3.shape[:2], np.bool_)
    # In the cache: the whole picture's intermediate arrays take five times as long.
    for top in range(0, len(mask_HW), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        mask_HW[rows] = _is_stained(smooth_HW3[rows], table_256)
    return mask_HW


def _is_stained(rgb_HW3: NDArray[np.uint8], table_256: NDArray[np.int16]) -> NDArray[np.bool_]:
    red_HW, green_HW, blue_HW = (
        cv2.LUT(level_HW, np.ascontiguousarray(table_256[:, channel]))
        for channel, level_HW in enumerate(cv2.split(rgb_HW3))
    )
    most_HW = cv2.max(cv2.max(red_HW, green_HW), blue_HW)
    least_HW = cv2.min(cv2.min(red_HW, green_HW), blue_HW)
    sum_HW = cv2.add(cv2.add(red_HW, green_HW), blue_HW)
    is_coloured_HW = cv2.subtract(most_HW, least_HW) > int(LEAST_COLOUR_OD * _PER_OD)
    is_dense_HW = sum_HW > int(3 * LEAST_GREY_OD * _PER_OD)
    is_black_HW = highest_channel(rgb_HW3) < BLACK_LEVEL
    return np.asarray((is_coloured_HW | is_dense_HW) & ~is_black_HW)


def joined(mask_HW: NDArray[np.bool_], *, closing_px: int) -> NDArray[np.bool_]:
    """Return a mask without its specks, gaps of up to closing_px closed."""
    kernel_KK = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (closing_px, closing_px))
    closed_HW = cv2.morphologyEx(_without_specks(mask_HW), cv2.MORPH_CLOSE, kernel_KK)
    return closed_HW.view(np.bool_)


def _without_specks(mask_HW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    _, label_HW, stats, _ = cv2.connectedComponentsWithStats(mask_HW.view(np.uint8))
    is_kept = (stats[:, cv2.CC_STAT_AREA] >= LEAST_SPECK_PX).astype(np.uint8)
    is_kept[0] = 0  # the background
    return np.asarray(is_kept.take(np.asarray(label_HW)), np.uint8)


def tissue_fraction(
    mask_HW: NDArray[np.bool_], boxes_xyxy: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the share of a mask in each box, exact for edges between pixels.

    The mask counts as constant over each pixel and as empty beyond its borders, so that a tile half
    off the slide reaches 0.5 at most.

    Args:
        mask_HW: True where there is what is asked for, tissue for one.
        boxes_xyxy: (N, 4) left, top, right, bottom in mask pixels, pixel (0, 0) spanning 0 to 1;
            positive areas.

    Returns:
        (N,) in 0..1.
    """
    left_N, top_N, right_N, bottom_N = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4).T
    area_N = (right_N - left_N) * (bottom_N - top_N)
    assert (area_N > 0).all(), "boxes must have positive areas"
    sum_YX = np.asarray(cv2.integral(np.ascontiguousarray(mask_HW).view(np.uint8)), np.int32)
    covered_N = (
        _sum_to(sum_YX, right_N, bottom_N)
        - _sum_to(sum_YX, left_N, bottom_N)
        - _sum_to(sum_YX, right_N, top_N)
        + _sum_to(sum_YX, left_N, top_N)
    )
    return np.clip(covered_N / area_N, 0, 1).astype(np.float32)


def _sum_to(
    sum_YX: NDArray[np.int32], x_N: NDArray[np.float64], y_N: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mask's integral over (0, 0) to (x, y); bilinear between pixel corners is exact."""
    height, width = sum_YX.shape[0] - 1, sum_YX.shape[1] - 1
    x_N, y_N = np.clip(x_N, 0, width), np.clip(y_N, 0, height)
    column_N = np.minimum(x_N.astype(np.intp), width - 1)
    row_N = np.minimum(y_N.astype(np.intp), height - 1)
    right_N, down_N = x_N - column_N, y_N - row_N
    above_N = sum_YX[row_N, column_N] * (1 - right_N) + sum_YX[row_N, column_N + 1] * right_N
    below_N = (
        sum_YX[row_N + 1, column_N] * (1 - right_N) + sum_YX[row_N + 1, column_N + 1] * right_N
    )
    return np.asarray(above_N * (1 - down_N) + below_N * down_N)
