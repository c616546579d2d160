"""Beer-Lambert by loops over pixels in float64: I = I0 exp(-sum of concentration times vector).

Vectors from Ruifrok & Johnston 2001, Table 1, here scaled to unit length by hand.
"""

import math

import numpy as np

HAEMATOXYLIN = (0.65, 0.70, 0.29)
EOSIN = (0.07, 0.99, 0.11)


def beer_lambert_reference(canvas_2HW, *, stain_gain, strength, channel_gain, glass_rgb):
    """Return the exact intensities (H, W, 3), not rounded."""
    _, height, width = canvas_2HW.shape
    rgb_HW3 = np.zeros((height, width, 3))
    for row in range(height):
        for column in range(width):
            for channel in range(3):
                density = 0.0
                for stain, vector in enumerate((HAEMATOXYLIN, EOSIN)):
                    length = math.sqrt(sum(part * part for part in vector))
                    concentration = float(canvas_2HW[stain, row, column])
                    concentration *= stain_gain[stain] * strength[stain]
                    density += concentration * vector[channel] / length
                density *= channel_gain[channel]
                rgb_HW3[row, column, channel] = glass_rgb[channel] * math.exp(-density)
    return rgb_HW3
