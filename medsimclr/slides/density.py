"""Optical density of a picture relative to the slide's own glass.

Density is log10(glass / light) for each channel (Beer-Lambert): dyes and inks on top of each other
add up in it, and a dye keeps its ratio of channels at any amount.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "GLASS_LEAST_LEVEL",
    "GLASS_MOST_TINT",
    "GLASS_PERCENTILE",
    "LEAST_GLASS_SHARE",
    "NO_GLASS_PERCENTILE",
    "PADDING_LEVEL",
    "density_table",
    "glass_rgb",
    "highest_channel",
    "lowest_channel",
]

GLASS_LEAST_LEVEL = 180
"""Glass is brighter than this grey level in every channel."""
GLASS_MOST_TINT = 25
"""Glass has channels at most this many grey levels apart; twice as many where it is yellow."""
PADDING_LEVEL = 8
"""Scanners fill what they did not scan with black up to this grey level."""

GLASS_PERCENTILE = 75
"""Percentile of the grey levels of glass that is its colour."""
NO_GLASS_PERCENTILE = 99
"""Percentile of the brightest channel that stands for glass where there is none."""
LEAST_GLASS_SHARE = 0.01
"""Least share of the pixels that is glass, for its colour to be taken from them."""


def density_table(glass_3: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the density of each grey level in each channel, (256, 3); negative above glass."""
    level_256 = np.arange(256, dtype=np.float32)[:, None]
    return np.asarray(-np.log10((level_256 + 1) / (glass_3 + 1)), np.float32)


def glass_rgb(rgb_HW3: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the colour of bright, nearly grey pixels, paler than three quarters of them.

    Old mountant is yellow: where blue is the darkest channel, a stronger tint still counts as
    glass. Where there is no glass, it is the grey of the brightest pixels. A quarter of the pixels
    of a large picture is looked at.
    """
    sample_HW3 = rgb_HW3[::2, ::2] if min(rgb_HW3.shape[:2]) >= 256 else rgb_HW3
    sample_HW3 = np.ascontiguousarray(sample_HW3)
    low_HW, high_HW = lowest_channel(sample_HW3), highest_channel(sample_HW3)
    blue_HW, tint_HW = sample_HW3[:, :, 2], high_HW - low_HW
    most_HW = np.where(blue_HW == low_HW, np.uint8(2 * GLASS_MOST_TINT), np.uint8(GLASS_MOST_TINT))
    is_glass_HW = (low_HW > GLASS_LEAST_LEVEL) & (tint_HW < most_HW)
    if is_glass_HW.mean() < LEAST_GLASS_SHARE:
        return np.full(3, _percentile(high_HW, NO_GLASS_PERCENTILE), np.float32)
    levels = [
        _percentile(np.asarray(level_HW), GLASS_PERCENTILE, among_HW=is_glass_HW.view(np.uint8))
        for level_HW in cv2.split(sample_HW3)
    ]
    return np.array(levels, np.float32)


def highest_channel(rgb_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the brightest channel of each pixel; numpy's max(axis=2) takes fifty times as long."""
    red_HW, green_HW, blue_HW = cv2.split(rgb_HW3)
    return np.asarray(cv2.max(cv2.max(red_HW, green_HW), blue_HW), np.uint8)


def lowest_channel(rgb_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the darkest channel of each pixel."""
    red_HW, green_HW, blue_HW = cv2.split(rgb_HW3)
    return np.asarray(cv2.min(cv2.min(red_HW, green_HW), blue_HW), np.uint8)


def _percentile(
    level_HW: NDArray[np.uint8], percent: float, *, among_HW: NDArray[np.uint8] | None = None
) -> float:
    """Return the grey level at or below which this share of pixels lies; counting beats sorting."""
    counts_256 = cv2.calcHist([level_HW], [0], among_HW, [256], [0, 256]).ravel().cumsum()
    return float(np.searchsorted(counts_256, percent / 100 * counts_256[-1]))
