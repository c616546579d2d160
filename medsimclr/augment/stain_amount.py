"""How much of each stain tiles have: what stain jitter changes.

Amounts are concentrations of haematoxylin, eosin and residual in tissue, natural-log optical
density, by the published vectors (see `stain`). They can be below 0, where the dyes have other
colours than the published ones.

Shapes: N3 = pixels or tiles; T3 = tissue pixels; Q3 = quantiles.
"""

import numpy as np
from numpy.typing import NDArray

from medsimclr.augment.macenko import tissue_density
from medsimclr.augment.stain import OD_TO_HED

__all__ = ["mean_amounts", "stain_quantiles"]

_TISSUE_FRACTION_MIN = 0.05
_PIXELS = 2048
# The outermost twentieths are debris, folds and the blur of edges.
_PERCENTS_Q = np.arange(5.0, 96.0, 5.0)


def mean_amounts(tiles_NHW3: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the mean amounts in the tissue of each tile, (N, 3); NaN under 5 % of tissue.

    Args:
        tiles_NHW3: RGB tiles, glass included.
    """
    amounts_N3 = np.full((len(tiles_NHW3), 3), np.nan)
    # A mean needs no more than some thousand pixels.
    step = max(1, round((tiles_NHW3[0, ..., 0].size / _PIXELS) ** 0.5)) if len(tiles_NHW3) else 1
    for row, tile_HW3 in enumerate(tiles_NHW3):
        pixels_N3 = tile_HW3[::step, ::step].reshape(-1, 3)
        od_T3 = tissue_density(pixels_N3)
        if len(od_T3) >= max(1.0, _TISSUE_FRACTION_MIN * len(pixels_N3)):
            amounts_N3[row] = od_T3.mean(axis=0) @ OD_TO_HED
    return amounts_N3


def stain_quantiles(pixels_N3: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the 5th, 10th, ... 95th percentile of each amount over tissue pixels, (19, 3).

    Args:
        pixels_N3: pixels, at least one of tissue.
    """
    amounts_T3 = tissue_density(pixels_N3) @ OD_TO_HED
    return np.asarray(np.percentile(amounts_T3, _PERCENTS_Q, axis=0))
