"""Gain, gamma, offset and noise of a detector in float64, pixel by pixel.

Formulas: docstring of medsimclr/augment/intensity.py.
"""

import numpy as np

_SIGNAL = 16 / 255


def change_intensity_loops(image_HW3, gain, gamma, offset):
    changed = np.empty(image_HW3.shape)
    for row, column, channel in np.ndindex(*image_HW3.shape):
        x = image_HW3[row, column, channel] / 255
        y = gain[channel] * x ** gamma[channel] + offset[channel] * min(1.0, x / _SIGNAL)
        changed[row, column, channel] = 255 * min(1.0, max(0.0, y))
    return changed


def noise_sigma(level, shot, read):
    """Return the standard deviation of the noise of a level, grey levels."""
    x = level / 255
    return 255 * np.sqrt(shot**2 * x + (read * min(1.0, x / _SIGNAL)) ** 2)
