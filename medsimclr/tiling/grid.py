"""Where the tiles of a slide lie.

Frames: `tile_frame` are pixels of the scale asked, in which tiles are squares of whole numbers;
level pixels are `scale` times finer, level-0 pixels finer still.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["boxes_xyxy", "grid_xy", "to_level0_xy"]

# A size that is a multiple of the scale but for the last bits of a float is one.
_TOLERANCE = 1e-6


def grid_xy(
    size_xy: tuple[float, float], *, tile_px: int, step_px: int, edge: Literal["drop", "pad"]
) -> npt.NDArray[np.int64]:
    """Return the top-left corners of all tiles, row by row.

    Args:
        size_xy: width and height of the slide in the tile frame; fractions where it is resampled.
        tile_px: side of a tile.
        step_px: from one tile to the next.
        edge: "drop" keeps whole tiles alone; "pad" adds those that reach beyond the slide, so that
            every pixel lies in a tile (if steps leave no gaps).

    Returns:
        (N, 2) int64 as x, y in the tile frame; N is 0 where no tile fits.
    """
    counts = [_count(size, tile_px=tile_px, step_px=step_px, edge=edge) for size in size_xy]
    grid_y, grid_x = np.meshgrid(
        np.arange(counts[1]) * step_px, np.arange(counts[0]) * step_px, indexing="ij"
    )
    return np.stack([grid_x.ravel(), grid_y.ravel()], axis=1).astype(np.int64)


def _count(size: float, *, tile_px: int, step_px: int, edge: Literal["drop", "pad"]) -> int:
    steps = (size - tile_px) / step_px
    if edge == "drop":
        return max(0, int(np.floor(steps + _TOLERANCE)) + 1)
    return max(1, int(np.ceil(steps - _TOLERANCE)) + 1)


def to_level0_xy(
    tile_frame_xy_N2: npt.NDArray[np.int64], *, level0_per_px: float
) -> npt.NDArray[np.int64]:
    """Return corners as the nearest level-0 pixels, halves up.

    Each is rounded from its exact place, so that errors do not add up across a slide.
    """
    return np.asarray(np.floor(tile_frame_xy_N2 * level0_per_px + 0.5), np.int64)


def boxes_xyxy(xy_N2: npt.NDArray[np.int64], *, side: float) -> npt.NDArray[np.float64]:
    """Return the squares of the given side at these corners, (N, 4) as left, top, right, bottom."""
    return np.concatenate([xy_N2, xy_N2 + side], axis=1).astype(np.float64)
