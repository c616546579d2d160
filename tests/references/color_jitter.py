"""The four colour operations of tf.image in float64, as google-research/simclr calls them."""

import colorsys

import numpy as np


def jitter_color_loops(image_HW3, *, brightness, contrast, saturation, hue_turns, order):
    """Apply the operations in order to an image of 0..255, clipping to [0, 1] after each."""
    unit_HW3 = image_HW3.astype(np.float64) / 255.0
    for name in order:
        if name == "brightness":
            unit_HW3 = unit_HW3 * brightness
        elif name == "contrast":
            mean_RGB = unit_HW3.mean(axis=(0, 1))
            unit_HW3 = (unit_HW3 - mean_RGB) * contrast + mean_RGB
        else:
            unit_HW3 = _in_hsv(
                unit_HW3,
                saturation if name == "saturation" else 1.0,
                hue_turns if name == "hue" else 0.0,
            )
        unit_HW3 = np.clip(unit_HW3, 0.0, 1.0)
    return unit_HW3 * 255.0


def _in_hsv(unit_HW3, saturation, hue_turns):
    changed_HW3 = np.empty_like(unit_HW3)
    for row in range(unit_HW3.shape[0]):
        for column in range(unit_HW3.shape[1]):
            h, s, v = colorsys.rgb_to_hsv(*unit_HW3[row, column])
            s = min(max(s * saturation, 0.0), 1.0)
            changed_HW3[row, column] = colorsys.hsv_to_rgb((h + hue_turns) % 1.0, s, v)
    return changed_HW3
