"""Changes of stain pixel by pixel in float64: Ruifrok & Johnston 2001, Tellez et al. 2018."""

import numpy as np

HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
EOSIN = np.array([0.07, 0.99, 0.11])
RESIDUAL = np.array([0.27, 0.57, 0.78])


def _shifted(od, shift):
    """Return a density moved by as much of the shift as there is stain; at most half is lost."""
    presence = min(max((od - 0.05) / (0.25 - 0.05), 0.0), 1.0)
    return max(od + presence * shift, 0.5 * od)


def change_density_loops(image_HW3, matrix, shift_RGB):
    """Shift each density, mix the three by the matrix, lose at most half; float64 grey levels."""
    changed_HW3 = np.empty(image_HW3.shape)
    for row in range(image_HW3.shape[0]):
        for column in range(image_HW3.shape[1]):
            od_RGB = -np.log(np.maximum(image_HW3[row, column].astype(np.float64), 1.0) / 255.0)
            shifted_RGB = [_shifted(od, shift) for od, shift in zip(od_RGB, shift_RGB, strict=True)]
            for channel in range(3):
                mixed = sum(shifted_RGB[k] * matrix[k][channel] for k in range(3))
                mixed = max(mixed, 0.5 * shifted_RGB[channel])
                changed_HW3[row, column, channel] = 255.0 * np.exp(-mixed)
    return changed_HW3


def jitter_stain_loops(image_HW3, gain_HED, offset_HED):
    """Shift the densities by the offsets' colours, scale the three concentrations, mix again."""
    stains = np.stack([HAEMATOXYLIN, EOSIN, RESIDUAL])
    shift_RGB = sum(offset * stain for offset, stain in zip(offset_HED, stains, strict=True))
    # Row k: what one unit of density in channel k becomes.
    matrix = [
        sum(
            gain * c * stain
            for gain, c, stain in zip(
                gain_HED, np.linalg.solve(stains.T, np.eye(3)[k]), stains, strict=True
            )
        )
        for k in range(3)
    ]
    return change_density_loops(image_HW3, matrix, shift_RGB)
