"""Where the tissue is: a mask over a thumbnail, and the share of tissue in boxes.

Brightfield (H&E, IHC, any dye): a pixel is tissue by the colour of its optical density relative to
the slide's own glass, since dyes absorb one colour more than another while dust, shadows and the
edge of the coverslip absorb all alike; a pixel without colour must be clearly darker than glass.
Fluorescence: a pixel is tissue by its brightness above the dark ground. The thresholds are fixed:
Otsu's, tried first, follows the darkest dye and loses pale stroma, and divides a blank slide into
two halves of noise. Pen ink is coloured and counts as tissue: a blue dye (Giemsa) cannot be told
from a blue pen.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["tissue_fraction", "tissue_mask"]

# Chosen here on H&E from six sources, Giemsa and DAPI: pale stroma counts, glass (99th percentile
# 0.007) does not. Optical density is log10.
_MIN_COLOUR_OD = 0.025
_MIN_GREY_OD = 0.0625
# Grey levels of smoothed signal above the darkest ground.
_MIN_SIGNAL = 8.0
# Pixels below this in every channel are scanner padding or folded to black, and carry no colour.
_BLACK = 30
_SMALLEST_SPECK_PX = 12
# Fibres lie close together; stained nuclei of one tissue lie up to some 20 px apart on the dark.
_COLOUR_CLOSING_PX, _SIGNAL_CLOSING_PX = 5, 21


def tissue_mask(thumbnail_HW3: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where a thumbnail shows tissue; all False on a blank slide.

    Args:
        thumbnail_HW3: RGB, best at 4 to 16 um/px, where nuclei blend into tissue.
    """
    thumbnail_HW3 = np.ascontiguousarray(thumbnail_HW3)
    if _has_dark_ground(thumbnail_HW3):
        mask_HW, closing_px = _is_bright(thumbnail_HW3), _SIGNAL_CLOSING_PX
    else:
        mask_HW, closing_px = _is_stained(thumbnail_HW3), _COLOUR_CLOSING_PX
    kernel_KK = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (closing_px, closing_px))
    closed_HW = cv2.morphologyEx(_without_specks(mask_HW), cv2.MORPH_CLOSE, kernel_KK)
    return np.asarray(closed_HW, np.bool_)


def _has_dark_ground(rgb_HW3: NDArray[np.uint8]) -> bool:
    """Tell fluorescence from brightfield, black scanner padding around bright glass included."""
    is_glass_HW = rgb_HW3.min(axis=2) > 180
    is_dark_HW = rgb_HW3.max(axis=2) < 60
    return bool(is_dark_HW.mean() > 0.1 and is_glass_HW.mean() < 0.02)


def _is_bright(rgb_HW3: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where the brightest channel, smoothed, stands out from the darkest ground."""
    brightest_HW = rgb_HW3.max(axis=2).astype(np.float32)
    smooth_HW = cv2.GaussianBlur(brightest_HW, (0, 0), 2.0)
    return np.asarray(smooth_HW > np.percentile(smooth_HW, 5) + _MIN_SIGNAL)


def _is_stained(rgb_HW3: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where optical density, after a median against noise, is coloured or high."""
    smooth_HW3 = cv2.medianBlur(rgb_HW3, 3)
    density_HW3 = -np.log10((smooth_HW3.astype(np.float32) + 1) / (_glass_rgb(rgb_HW3) + 1))
    is_coloured_HW = density_HW3.max(axis=2) - density_HW3.min(axis=2) > _MIN_COLOUR_OD
    is_dense_HW = density_HW3.mean(axis=2) > _MIN_GREY_OD
    is_black_HW = smooth_HW3.max(axis=2) < _BLACK
    return np.asarray((is_coloured_HW | is_dense_HW) & ~is_black_HW)


def _glass_rgb(rgb_HW3: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the colour of bright, nearly grey pixels, paler than three quarters of them.

    Old mountant is yellow: where blue is the darkest channel, a stronger tint still counts as
    glass. Where there is no glass, it is the grey of the brightest pixels.
    """
    low_HW, high_HW = rgb_HW3.min(axis=2), rgb_HW3.max(axis=2)
    most_tint_HW = np.where(rgb_HW3[:, :, 2] == low_HW, 50, 25)
    is_glass_HW = (low_HW > 180) & (high_HW - low_HW < most_tint_HW)
    if is_glass_HW.mean() < 0.01:
        return np.full(3, np.percentile(high_HW, 99), np.float32)
    return np.asarray(np.percentile(rgb_HW3[is_glass_HW], 75, axis=0), np.float32)


def _without_specks(mask_HW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    _, label_HW, stats, _ = cv2.connectedComponentsWithStats(mask_HW.astype(np.uint8))
    is_kept = stats[:, cv2.CC_STAT_AREA] >= _SMALLEST_SPECK_PX
    is_kept[0] = False  # the background
    return np.asarray(is_kept[label_HW], np.uint8)


def tissue_fraction(
    mask_HW: NDArray[np.bool_], boxes_xyxy: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the share of tissue in each box, exact for edges between pixels.

    The mask counts as constant over each pixel and as empty beyond its borders, so that a tile half
    off the slide reaches 0.5 at most.

    Args:
        mask_HW: True where there is tissue.
        boxes_xyxy: (N, 4) left, top, right, bottom in mask pixels, pixel (0, 0) spanning 0 to 1;
            positive areas.

    Returns:
        (N,) in 0..1.
    """
    left_N, top_N, right_N, bottom_N = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4).T
    area_N = (right_N - left_N) * (bottom_N - top_N)
    assert (area_N > 0).all(), "boxes must have positive areas"
    sum_YX = np.pad(mask_HW.astype(np.float64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    tissue_N = (
        _sum_to(sum_YX, right_N, bottom_N)
        - _sum_to(sum_YX, left_N, bottom_N)
        - _sum_to(sum_YX, right_N, top_N)
        + _sum_to(sum_YX, left_N, top_N)
    )
    return np.clip(tissue_N / area_N, 0, 1).astype(np.float32)


def _sum_to(
    sum_YX: NDArray[np.float64], x_N: NDArray[np.float64], y_N: NDArray[np.float64]
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
