"""Gaussian blur tap by tap in float64, mirrored at the border without repeating the edge pixel."""

import math

import numpy as np


def gaussian_blur_loops(image_HW3, *, sigma_px, radius_px):
    """Convolve rows, then columns, with the full kernel of 2 * radius_px + 1 taps."""
    taps = [math.exp(-(x**2) / (2.0 * sigma_px**2)) for x in range(-radius_px, radius_px + 1)]
    blurred_HW3 = image_HW3.astype(np.float64)
    for axis in (0, 1):
        length = image_HW3.shape[axis]
        source_HW3 = blurred_HW3
        blurred_HW3 = np.zeros_like(source_HW3)
        for x, tap in zip(range(-radius_px, radius_px + 1), taps, strict=True):
            places = [_mirrored(place + x, length) for place in range(length)]
            blurred_HW3 += tap / sum(taps) * np.take(source_HW3, places, axis=axis)
    return blurred_HW3


def _mirrored(place, length):
    while not 0 <= place < length:
        place = -place if place < 0 else 2 * (length - 1) - place
    return place
