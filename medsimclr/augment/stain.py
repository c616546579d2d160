"""Haematoxylin, eosin and residual: stain jitter in optical density.

Stain vectors: Ruifrok & Johnston 2001 (Anal Quant Cytol Histol 23:291), as in their ImageJ plug-in.
Jitter c' = gain * c + offset: Tellez et al. 2018 (IEEE TMI 37:2126), 2019 (arXiv 1902.06543).

    optical density   od_RGB = -ln(max(I, 1) / 255), so white is 0 and black 5.54
    concentrations    c_HED  = od_RGB @ inv(HED_TO_OD)

Where we differ: natural logarithm throughout (Tellez's numbers are in the units of an older
scikit-image, whose transform is log(x + 2): an offset there is about four times as strong as the
same figure here), and background stays background. An offset added everywhere would tint the glass
beside the tissue, so it is scaled by the presence of tissue, which rises linearly with the mean
optical density from 0 at GLASS_OD to 1 at TISSUE_OD, around Macenko's threshold of 0.15 (2009).
Negative concentrations are kept: clipping them would change the image at zero strength.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["GLASS_OD", "HED_TO_OD", "TISSUE_OD", "jitter_stain"]

HED_TO_OD: NDArray[np.float64] = np.array(
    [
        [0.65, 0.70, 0.29],
        [0.07, 0.99, 0.11],
        [0.27, 0.57, 0.78],
    ]
)
"""Optical density of R, G, B (columns) for one unit of H, E and residual (rows; DAB's vector)."""

GLASS_OD = 0.05
"""Mean optical density up to which a pixel is glass. Chosen here: glass is rarely quite white."""

TISSUE_OD = 0.25
"""Mean optical density from which a pixel is wholly tissue. Chosen here."""

_OD_TO_HED = np.linalg.inv(HED_TO_OD)
_OD_OF_LEVEL = -np.log(np.maximum(np.arange(256), 1) / 255.0).astype(np.float32)
_LN_255 = float(np.log(255.0))
_TO_PRESENCE = np.array([[1 / 3, 1 / 3, 1 / 3, -GLASS_OD]]) / (TISSUE_OD - GLASS_OD)

# Whole tiles of float32 are large enough for malloc to return them to the kernel after every call;
# the page faults then cost three times the arithmetic. Strips stay in the second-level cache.
_STRIP_PIXELS = 12_288


def jitter_stain(
    image_HW3: NDArray[np.uint8], *, gain_HED: Sequence[float], offset_HED: Sequence[float]
) -> NDArray[np.uint8]:
    """Scale and shift the stains of a tile: c' = gain * c + offset * presence of tissue.

    Separation, gain and recombination are one 3x3 matrix on optical densities. Pure white stays
    pure white; gain 1 with offset 0 returns the input bit for bit.

    Args:
        image_HW3: RGB tile; any size, also blank or black.
        gain_HED: factor of haematoxylin, eosin and residual.
        offset_HED: added concentration of each, natural-log optical density.

    Returns:
        A new image within one grey level of the float64 formula.
    """
    gain = np.asarray(gain_HED, dtype=np.float64)
    offset = np.asarray(offset_HED, dtype=np.float64)
    assert gain.shape == (3,), gain_HED
    assert offset.shape == (3,), offset_HED
    if np.all(gain == 1.0) and not offset.any():
        return image_HW3.copy()

    # Column vectors from here on, as cv2.transform has them: ln I' = ln 255 - (A od + b * presence)
    to_log = np.hstack([-(_OD_TO_HED @ np.diag(gain) @ HED_TO_OD).T, np.full((3, 1), _LN_255)])
    shift = np.diag(-(offset @ HED_TO_OD))
    height, width = image_HW3.shape[:2]
    n_rows = max(1, _STRIP_PIXELS // width)
    jittered_HW3 = np.empty_like(image_HW3)
    for top in range(0, height, n_rows):
        rows = slice(top, top + n_rows)
        jittered_HW3[rows] = _jitter_strip(image_HW3[rows], to_log, shift)
    return jittered_HW3


def _jitter_strip(
    image_HW3: NDArray[np.uint8], to_log: NDArray[np.float64], shift: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Map a few rows: the affine map of optical densities, the shift by presence, exponential."""
    od_HW3 = cv2.LUT(image_HW3, _OD_OF_LEVEL)
    log_HW3 = np.asarray(cv2.transform(od_HW3, to_log), dtype=np.float32)
    if shift.any():
        presence_HW = cv2.transform(od_HW3, _TO_PRESENCE)
        cv2.threshold(presence_HW, 1.0, 0.0, cv2.THRESH_TRUNC, dst=presence_HW)
        cv2.threshold(presence_HW, 0.0, 0.0, cv2.THRESH_TOZERO, dst=presence_HW)
        presence_HW3 = cv2.cvtColor(presence_HW, cv2.COLOR_GRAY2RGB)
        cv2.add(log_HW3, cv2.transform(presence_HW3, shift), dst=log_HW3)
    # Beyond the range of a 32-bit integer the conversion below would wrap white round to black.
    cv2.threshold(log_HW3, _LN_255, 0.0, cv2.THRESH_TRUNC, dst=log_HW3)
    cv2.exp(log_HW3, dst=log_HW3)
    return np.asarray(cv2.convertScaleAbs(log_HW3), dtype=np.uint8)
