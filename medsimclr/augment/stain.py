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
- Nothing is bleached: neither shift nor matrix takes more than half of a channel's density, so that
  both together leave a quarter at least. Without this limit 0.2 to 6 % of the tissue pixels of
  three real sets became white in a channel.
- Negative concentrations are kept: clipping them would change the image at zero strength.

Densities are counts of 16 bits, each 9.5e-5: that costs less than 0.1 grey levels at the strengths
that policies allow, and takes three quarters of the time of float32. Densities above 12.5 count as
12.5, which offsets of 3 and more can reach.

Shapes: HW3 = rows, columns, RGB; CL = channels, 256 grey levels.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from medsimclr.augment.channel_lookup import ChannelLookup

__all__ = [
    "GLASS_OD",
    "HED_TO_OD",
    "KEPT_OD",
    "OD_OF_LEVEL",
    "OD_TO_HED",
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

OD_TO_HED: NDArray[np.float64] = np.asarray(np.linalg.inv(HED_TO_OD), dtype=np.float64)
"""Units of H, E and residual (columns) for one of optical density of R, G, B (rows)."""

GLASS_OD = 0.05
"""Optical density up to which a channel is glass. Chosen here: glass is rarely quite white."""

TISSUE_OD = 0.25
"""Optical density from which a channel is wholly stained. Chosen here."""

KEPT_OD = 0.5
"""Least fraction of a channel's optical density that a shift leaves, and a matrix of the rest.
Chosen here."""

OD_OF_LEVEL: NDArray[np.float64] = -np.log(np.maximum(np.arange(256), 1) / 255.0)
"""Optical density of the 256 grey levels."""


def presence_of_od(od: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far optical densities are from glass: 0 at GLASS_OD, 1 at TISSUE_OD."""
    return np.clip((od - GLASS_OD) / (TISSUE_OD - GLASS_OD), 0.0, 1.0)


# The density of half a grey level, which is black, has the largest count.
_COUNTS = 65535
_OD_OF_COUNT = float(np.log(255.0 / 0.49)) / _COUNTS
_LEVEL_OF_COUNT = np.rint(255.0 * np.exp(-_OD_OF_COUNT * np.arange(_COUNTS + 1))).astype(np.uint8)
# Tables hold what must be kept of a density, so that twice the darkest has a count as well.
_TO_KEPT = KEPT_OD / _OD_OF_COUNT
_PRESENCE_L = (_TO_KEPT * presence_of_od(OD_OF_LEVEL)).astype(np.float32)
# Halves added make a rounding of what follows.
_KEPT_CL = np.tile(_TO_KEPT * OD_OF_LEVEL + 0.5, (3, 1)).astype(np.float32)
_TWICE_KEPT_CL = np.tile(_TO_KEPT * KEPT_OD * OD_OF_LEVEL + 0.5, (3, 1)).astype(np.float32)


def jitter_stain(
    image_HW3: NDArray[np.uint8],
    *,
    gain_HED: Sequence[float],
    offset_HED: Sequence[float],
    lookup: ChannelLookup | None = None,
) -> NDArray[np.uint8]:
    """Shift and scale the stains of a tile: c' = gain * (c + offset * presence).

    Pure white stays pure white; gain 1 with offset 0 returns the input bit for bit.

    Args:
        image_HW3: RGB tile; any size, also blank or black.
        gain_HED: factor of haematoxylin, eosin and residual.
        offset_HED: added concentration of each, natural-log optical density.
        lookup: see `change_density`.

    Returns:
        A new image within one grey level of the float64 formula.
    """
    assert len(gain_HED) == len(offset_HED) == 3, (gain_HED, offset_HED)
    if all(gain == 1.0 for gain in gain_HED) and not any(offset_HED):
        return image_HW3.copy()
    matrix = np.dot(OD_TO_HED * gain_HED, HED_TO_OD)
    shift_RGB = np.dot(offset_HED, HED_TO_OD)
    return change_density(image_HW3, matrix=matrix, shift_RGB=shift_RGB, lookup=lookup)


def change_density(
    image_HW3: NDArray[np.uint8],
    *,
    matrix: NDArray[np.float64],
    shift_RGB: NDArray[np.float64],
    lookup: ChannelLookup | None = None,
) -> NDArray[np.uint8]:
    """Change optical densities: od' = (od + shift * presence(od)) @ matrix, limited as said above.

    Args:
        image_HW3: RGB tile; any size.
        matrix: 3x3, from the densities of R, G, B (rows) to the new ones (columns).
        shift_RGB: added optical density of each channel, before the matrix.
        lookup: memory to overwrite, for whoever changes many images of one size.

    Returns:
        A new image within one grey level of the float64 formula; white stays white.
    """
    # Everything that looks at one channel alone is a table of its 256 levels.
    kept_CL = shift_RGB.astype(np.float32)[:, None] * _PRESENCE_L
    kept_CL += _KEPT_CL
    np.maximum(kept_CL, _TWICE_KEPT_CL, out=kept_CL)
    np.minimum(kept_CL, _COUNTS, out=kept_CL)
    lookup = lookup or ChannelLookup(*image_HW3.shape[:2])
    kept_HW3 = lookup(image_HW3, kept_CL.astype(np.uint16))
    # Negative densities become 0 here, and the limit is a maximum.
    od_HW3 = cv2.transform(kept_HW3, matrix.T / KEPT_OD)
    cv2.max(od_HW3, kept_HW3, dst=od_HW3)
    return np.asarray(cv2.LUT(od_HW3, _LEVEL_OF_COUNT), dtype=np.uint8)
