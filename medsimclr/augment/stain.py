"""Haematoxylin, eosin and residual: changes of stain in optical density.

Stain vectors: Ruifrok & Johnston 2001 (Anal Quant Cytol Histol 23:291), as in their ImageJ plug-in.
Jitter of concentrations: Tellez et al. 2018 (IEEE TMI 37:2126), 2019 (arXiv 1902.06543).

    optical density   od_RGB = -ln(max(I, 1) / 255), so white is 0 and black 5.54
    concentrations    c_HED  = od_RGB @ inv(HED_TO_OD)
    jitter            c'     = gain * (c + offset * presence)

Where we differ:
- Natural logarithm throughout (Tellez's numbers are in the units of an older scikit-image, whose
  transform is log(x + 2): an offset there is about four times as strong as the same figure here).
- Background stays background. An offset added everywhere would tint the glass beside the tissue, so
  in each channel it is scaled by the presence of stain, which rises linearly with the channel's
  density from 0 at GLASS_OD to 1 at TISSUE_OD, around Macenko's threshold of 0.15 (2009).
- Nothing is bleached: neither shift nor matrix takes more than half of a channel's density. Without
  this limit 0.2 to 6 % of the tissue pixels of three real sets became white in a channel.
- Negative concentrations are kept: clipping them would change the image at zero strength.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "GLASS_OD",
    "HED_TO_OD",
    "KEPT_OD",
    "OD_OF_LEVEL",
    "TISSUE_OD",
    "change_density",
    "jitter_stain",
    "presence_of_od",
]

HED_TO_OD: NDArray[np.float64] = np.array(
    [
        [0.65, 0.70, 0.29],
        [0.07, 0.99, 0.11],
        [0.27, 0.57, 0.78],
    ]
)
"""Optical density of R, G, B (columns) for one unit of H, E and residual (rows; DAB's vector)."""

GLASS_OD = 0.05
"""Optical density up to which a channel is glass. Chosen here: glass is rarely quite white."""

TISSUE_OD = 0.25
"""Optical density from which a channel is wholly stained. Chosen here."""

KEPT_OD = 0.5
"""Least fraction of a channel's optical density that any change leaves. Chosen here."""

OD_OF_LEVEL: NDArray[np.float64] = -np.log(np.maximum(np.arange(256), 1) / 255.0)
"""Optical density of the 256 grey levels."""

_OD_TO_HED = np.linalg.inv(HED_TO_OD)
_LN_255 = float(np.log(255.0))
_LN_255_RGB = np.full(3, _LN_255)


def _columns(values_L: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.repeat(values_L[:, None], 3, axis=1).astype(np.float32)


def presence_of_od(od: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far optical densities are from glass: 0 at GLASS_OD, 1 at TISSUE_OD."""
    return np.clip((od - GLASS_OD) / (TISSUE_OD - GLASS_OD), 0.0, 1.0)


# Three equal columns: numpy multiplies whole arrays faster than it broadcasts small ones.
_KEPT_PRESENCE_L3 = _columns(-KEPT_OD * presence_of_od(OD_OF_LEVEL))
_KEPT_LOG_L3 = _columns(_LN_255 - KEPT_OD * OD_OF_LEVEL)
_TWICE_KEPT_LOG_L3 = _columns(_LN_255 - KEPT_OD**2 * OD_OF_LEVEL)


def jitter_stain(
    image_HW3: NDArray[np.uint8],
    *,
    gain_HED: Sequence[float],
    offset_HED: Sequence[float],
    scratch_2HW3: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """Shift and scale the stains of a tile: c' = gain * (c + offset * presence).

    Pure white stays pure white; gain 1 with offset 0 returns the input bit for bit.

    Args:
        image_HW3: RGB tile; any size, also blank or black.
        gain_HED: factor of haematoxylin, eosin and residual.
        offset_HED: added concentration of each, natural-log optical density.
        scratch_2HW3: see `change_density`.

    Returns:
        A new image within one grey level of the float64 formula.
    """
    assert len(gain_HED) == len(offset_HED) == 3, (gain_HED, offset_HED)
    if all(gain == 1.0 for gain in gain_HED) and not any(offset_HED):
        return image_HW3.copy()
    matrix = (_OD_TO_HED * np.asarray(gain_HED)) @ HED_TO_OD
    shift_RGB = np.asarray(offset_HED) @ HED_TO_OD
    return change_density(image_HW3, matrix=matrix, shift_RGB=shift_RGB, scratch_2HW3=scratch_2HW3)


def change_density(
    image_HW3: NDArray[np.uint8],
    *,
    matrix: NDArray[np.float64],
    shift_RGB: NDArray[np.float64],
    scratch_2HW3: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """Change optical densities: od' = (od + shift * presence(od)) @ matrix, limited as said above.

    Args:
        image_HW3: RGB tile; any size.
        matrix: 3x3, from the densities of R, G, B (rows) to the new ones (columns).
        shift_RGB: added optical density of each channel, before the matrix.
        scratch_2HW3: memory to overwrite, for whoever changes many images of one size: fresh
            memory of this size costs more in page faults than the arithmetic does.

    Returns:
        A new image within one grey level of the float64 formula; white stays white.
    """
    # Everything that looks at one channel alone is a table of 256 levels. It holds the logarithm
    # of the brightest that a channel may become, ln 255 - KEPT_OD * od, so that the limit after
    # the matrix is one minimum.
    brightest_L3 = _KEPT_PRESENCE_L3 * shift_RGB.astype(np.float32)
    brightest_L3 += _KEPT_LOG_L3
    np.minimum(brightest_L3, _TWICE_KEPT_LOG_L3, out=brightest_L3)
    # Column vectors, as cv2.transform has them: ln I' = ln 255 - A od, od = (ln 255 - b) / KEPT_OD
    to_log = np.empty((3, 4))
    np.divide(matrix.T, KEPT_OD, out=to_log[:, :3])
    to_log[:, 3] = _LN_255 - to_log[:, :3] @ _LN_255_RGB

    if scratch_2HW3 is None:
        scratch_2HW3 = np.empty((2, *image_HW3.shape), dtype=np.float32)
    brightest_HW3, log_HW3 = scratch_2HW3
    cv2.LUT(image_HW3, brightest_L3[None], dst=brightest_HW3)
    cv2.transform(brightest_HW3, to_log, dst=log_HW3)
    cv2.min(log_HW3, brightest_HW3, dst=log_HW3)
    cv2.exp(log_HW3, dst=log_HW3)
    return np.asarray(cv2.convertScaleAbs(log_HW3), dtype=np.uint8)
