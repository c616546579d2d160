"""Stain jitter pixel by pixel in float64: Ruifrok & Johnston 2001, Tellez et al. 2018."""

import numpy as np

HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
EOSIN = np.array([0.07, 0.99, 0.11])
RESIDUAL = np.array([0.27, 0.57, 0.78])


def jitter_stain_loops(image_HW3, gain_HED, offset_HED):
    """Solve for three concentrations, change each, mix them again; float64 grey levels."""
    stains = (HAEMATOXYLIN, EOSIN, RESIDUAL)
    jittered_HW3 = np.empty(image_HW3.shape)
    for row in range(image_HW3.shape[0]):
        for column in range(image_HW3.shape[1]):
            od_RGB = -np.log(np.maximum(image_HW3[row, column].astype(np.float64), 1.0) / 255.0)
            concentrations = np.linalg.solve(np.stack(stains, axis=1), od_RGB)
            presence = np.clip((od_RGB.mean() - 0.05) / (0.25 - 0.05), 0.0, 1.0)
            mixed_RGB = np.zeros(3)
            for stain, c, gain, offset in zip(
                stains, concentrations, gain_HED, offset_HED, strict=True
            ):
                mixed_RGB += (gain * c + offset * presence) * stain
            jittered_HW3[row, column] = np.minimum(255.0 * np.exp(-mixed_RGB), 255.0)
    return jittered_HW3
