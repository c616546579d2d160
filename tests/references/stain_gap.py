"""Amounts of stain pixel by pixel, and the gap between groups, written out in float64.

Ruifrok & Johnston 2001 for the vectors; the straight line through quantiles is numpy's polyfit.
"""

import math

import numpy as np

_HED_TO_OD = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


def amounts_of_pixel(rgb):
    """Solve amounts @ HED_TO_OD = optical density; None for glass and ink."""
    density_3 = [-math.log(max(int(level), 1) / 255.0) for level in rgb]
    if not 0.15 < sum(density_3) / 3 < 2.5:
        return None
    return np.linalg.solve(_HED_TO_OD.T, density_3)


def mean_amounts_of_tile(tile_HW3):
    """Average the amounts over tissue pixels."""
    found = [amounts_of_pixel(rgb) for row in tile_HW3 for rgb in row]
    return np.mean([amount for amount in found if amount is not None], axis=0)


def gap(typical_Q, group_Q):
    """Return gain and offset with group = gain * (typical + offset), for one stain."""
    slope, intercept = np.polyfit(typical_Q, group_Q, 1)
    return slope, intercept / slope
