"""The region of a plane of two stain amounts where most of some tiles lie.

The density of the tiles is a sum of Gaussians, one a tile, with Scott's bandwidth (Scott 1992,
"Multivariate Density Estimation"); the region is where it exceeds what 5 % of the tiles fall short
of: the smallest that holds 95 % of them, of any shape, in one piece or several. Several views of a
tile are not several tiles: they do not make the bandwidth smaller.

Shapes: N2 = tiles, haematoxylin and eosin; M2 = points to look at.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["StainRegion", "stain_region"]

_SHARE = 0.95
# Of an optical density. Tiles closer together than this look alike; a single tile has a region too.
_BANDWIDTH_MIN = 0.01


@dataclass(frozen=True)
class StainRegion:
    """Where 95 % of some tiles lie."""

    tile_N2: NDArray[np.float64]
    whitening_22: NDArray[np.float64]
    """Brings differences of amounts to units of the bandwidth."""
    least_density: float
    """Density, up to a constant factor, at the border of the region."""

    def density(self, point_M2: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the density of the tiles at some points, up to a constant factor, (M,)."""
        return _density(self.tile_N2 @ self.whitening_22, point_M2 @ self.whitening_22)

    def holds(self, point_M2: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which points lie in the region, (M,)."""
        return np.asarray(self.density(point_M2) >= self.least_density)


def stain_region(tile_N2: NDArray[np.float64], *, n_tiles: int) -> StainRegion:
    """Return where 95 % of some tiles, or of their views, lie.

    Args:
        tile_N2: amounts of haematoxylin and eosin, at least one row.
        n_tiles: how many tiles the rows come from.
    """
    centred_N2 = tile_N2 - tile_N2.mean(axis=0)
    covariance_22 = centred_N2.T @ centred_N2 / len(tile_N2)
    bandwidth_22 = covariance_22 * n_tiles ** (-1 / 3) + _BANDWIDTH_MIN**2 * np.eye(2)
    whitening_22 = np.linalg.cholesky(np.linalg.inv(bandwidth_22))
    white_N2 = tile_N2 @ whitening_22
    own_N = _density(white_N2, white_N2)
    # The lower of two neighbours, so that never fewer than 95 % are within.
    least_density = float(np.quantile(own_N, 1.0 - _SHARE, method="lower"))
    return StainRegion(tile_N2, whitening_22, least_density)


def _density(white_N2: NDArray[np.float64], white_M2: NDArray[np.float64]) -> NDArray[np.float64]:
    density_M = np.empty(len(white_M2))
    # In parts, so that memory does not grow with the product of both.
    for start in range(0, len(white_M2), 256):
        part = slice(start, start + 256)
        apart_MN = ((white_M2[part, None] - white_N2[None]) ** 2).sum(axis=2)
        density_M[part] = np.exp(-0.5 * apart_MN).mean(axis=1)
    return density_M
