"""The region of a plane of two stain amounts where most of some tiles lie.

The density of the tiles is a sum of Gaussians, one a tile, with Scott's bandwidth (Scott 1992,
"Multivariate Density Estimation"); the region is where it reaches what 19 in 20 tiles have of the
others: the smallest that holds 95 % of further tiles, of any shape, in one piece or several. With a
tile's own Gaussian among the others, which no further tile has, the region of 40 tiles held 88 %.
Several views of a tile are not several tiles: they do not make the bandwidth smaller, and stand by
each other as little as a tile by itself.

Shapes: N2 = tiles or their views, haematoxylin and eosin; M2 = points to look at.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["StainRegion", "stain_region"]

_ONE_BEYOND_IN = 20
# Of an optical density. Tiles closer together than this look alike; a single tile has a region too.
_BANDWIDTH_MIN = 0.01


@dataclass(frozen=True)
class StainRegion:
    """Where 95 % of tiles like some tiles lie."""

    tile_N2: NDArray[np.float64]
    tile_N: NDArray[np.int64]
    """Which tile each of these is, or is a view of."""
    whitening_22: NDArray[np.float64]
    """Brings differences of amounts to units of the bandwidth."""
    least_density: float
    """Density, up to a constant factor, at the border of the region."""

    def density(
        self, point_M2: NDArray[np.float64], *, tile_M: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """Return the density of the tiles at some points, up to a constant factor, (M,).

        Args:
            point_M2: the points.
            tile_M: the tile that each is a view of, which then counts for nothing; None: they are
                of other tiles.
        """
        white_N2, white_M2 = self.tile_N2 @ self.whitening_22, point_M2 @ self.whitening_22
        density_M = np.empty(len(white_M2))
        # In parts, so that memory does not grow with the product of both.
        for start in range(0, len(white_M2), 256):
            part = slice(start, start + 256)
            apart_MN = ((white_M2[part, None] - white_N2[None]) ** 2).sum(axis=2)
            is_counted = True if tile_M is None else tile_M[part, None] != self.tile_N
            density_M[part] = np.exp(-0.5 * apart_MN).mean(axis=1, where=is_counted)
        return density_M

    def holds(
        self, point_M2: NDArray[np.float64], *, tile_M: NDArray[np.int64] | None = None
    ) -> NDArray[np.bool_]:
        """Tell which points lie in the region, (M,); see `density`."""
        return np.asarray(self.density(point_M2, tile_M=tile_M) >= self.least_density)


def stain_region(
    tile_N2: NDArray[np.float64], *, tile_N: NDArray[np.int64] | None = None
) -> StainRegion:
    """Return where 95 % of further tiles like these, or of views of such, lie.

    Args:
        tile_N2: amounts of haematoxylin and eosin, at least one row.
        tile_N: which tile each row is a view of; None: each is a tile.
    """
    if tile_N is None:
        tile_N = np.arange(len(tile_N2))
    n_tiles = len(np.unique(tile_N))
    centred_N2 = tile_N2 - tile_N2.mean(axis=0)
    covariance_22 = centred_N2.T @ centred_N2 / len(tile_N2)
    bandwidth_22 = covariance_22 * n_tiles ** (-1 / 3) + _BANDWIDTH_MIN**2 * np.eye(2)
    whitening_22 = np.linalg.cholesky(np.linalg.inv(bandwidth_22))
    region = StainRegion(tile_N2, tile_N, whitening_22, least_density=0.0)
    # A single tile has no others to go by.
    density_N = np.sort(region.density(tile_N2, tile_M=tile_N if n_tiles > 1 else None))
    # One in 20 of the tiles and one to come, so that the latter is beyond no more often than that.
    n_beyond = (n_tiles + 1) // _ONE_BEYOND_IN * len(tile_N2) // n_tiles
    return replace(region, least_density=float(density_N[max(0, n_beyond - 1)]))
