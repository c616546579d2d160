"""Where the tiles of a slide lie."""

import numpy as np
import numpy.typing as npt

__all__ = ["boxes_xyxy", "grid_level0_xy"]


def grid_level0_xy(
    dimensions_level0_xy: tuple[int, int], *, tile_level0_px: float
) -> npt.NDArray[np.int64]:
    """Return the top-left corners of all whole tiles, row by row, without overlap.

    Corners are rounded from exact multiples of the tile's side, so that errors do not add up
    across a slide; what is left at the right and bottom edge is less than a tile and is dropped.

    Args:
        dimensions_level0_xy: width and height of level 0.
        tile_level0_px: side of a tile in level-0 pixels; a fraction where the slide is resampled.

    Returns:
        (N, 2) int64 as x, y; N is 0 where the slide is smaller than a tile.
    """
    # Half a pixel of tolerance: rounding the size of a slide must not cost its last column.
    n_columns, n_rows = (int((side + 0.5) / tile_level0_px) for side in dimensions_level0_xy)
    x = np.floor(np.arange(n_columns) * tile_level0_px + 0.5).astype(np.int64)
    y = np.floor(np.arange(n_rows) * tile_level0_px + 0.5).astype(np.int64)
    grid_y, grid_x = np.meshgrid(y, x, indexing="ij")
    return np.stack([grid_x.ravel(), grid_y.ravel()], axis=1)


def boxes_xyxy(xy_N2: npt.NDArray[np.int64], *, side: float) -> npt.NDArray[np.float64]:
    """Return the squares of the given side at these corners, (N, 4) as left, top, right, bottom."""
    return np.concatenate([xy_N2, xy_N2 + side], axis=1).astype(np.float64)
