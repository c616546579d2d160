"""CIELAB, HSV and HED of one pixel in float64, by their published formulas."""

import colorsys
import math

import numpy as np

STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
SRGB_TO_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
D65 = SRGB_TO_XYZ.sum(axis=1)


def lab(rgb):
    """IEC 61966-2-1 to linear light, CIE 1931 XYZ, CIE 1976 L*a*b* with cube roots throughout."""
    unit = np.asarray(rgb, dtype=np.float64) / 255.0
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in unit]
    f = np.cbrt(SRGB_TO_XYZ @ linear / D65)
    return [116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])]


def from_lab(channels):
    """Return 8-bit levels, not rounded, of a colour inside sRGB."""
    middle = (channels[0] + 16) / 116
    f = (middle + channels[1] / 500, middle, middle - channels[2] / 200)
    xyz = np.maximum(f, 0.0) ** 3 * D65
    linear = np.clip(np.linalg.solve(SRGB_TO_XYZ, xyz), 0.0, 1.0)
    unit = [12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055 for v in linear]
    return [255.0 * v for v in unit]


def hsv(rgb):
    """Hue in degrees from green on, saturation, value."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(level / 255.0 for level in rgb))
    return [(360.0 * hue - 120.0) % 360.0, saturation, value]


def from_hsv(channels):
    """Return 8-bit levels, not rounded."""
    hue = (min(max(channels[0], 0.0), 359.9) + 120.0) % 360.0 / 360.0
    saturation, value = (min(max(v, 0.0), 1.0) for v in channels[1:])
    return [255.0 * v for v in colorsys.hsv_to_rgb(hue, saturation, value)]


def hed(rgb):
    """Concentrations in natural-log optical density."""
    od = [-math.log(max(level, 1) / 255.0) for level in map(float, rgb)]
    return list(np.linalg.solve(STAINS.T, od))


def from_hed(channels):
    """Return 8-bit levels, not rounded."""
    return [255.0 * math.exp(-max(od, 0.0)) for od in np.asarray(channels) @ STAINS]


def change_channels_loops(image_HW3, space, gain, offset):
    """Scale and shift, limit to half of the density, mix by the presence of tissue."""
    to_space, from_space = {"lab": (lab, from_lab), "hsv": (hsv, from_hsv), "hed": (hed, from_hed)}[
        space
    ]
    changed_HW3 = np.empty(image_HW3.shape)
    for row in range(image_HW3.shape[0]):
        for column in range(image_HW3.shape[1]):
            rgb = image_HW3[row, column].astype(np.float64)
            moved = from_space(np.array(to_space(rgb)) * gain + offset)
            od = -np.log(np.maximum(rgb, 1.0) / 255.0)
            limited = np.minimum(np.clip(moved, 0.0, 255.0), 255.0 * np.exp(-0.5 * od))
            presence = min(max((od.mean() - 0.20) / (0.32 - 0.20), 0.0), 1.0)
            changed_HW3[row, column] = rgb + presence * (limited - rgb)
    return changed_HW3
