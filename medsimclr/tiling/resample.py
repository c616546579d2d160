"""Resample a region of a slide to a tile, exact in scale and place.

Regions begin and end at whole pixels; the tile's box within may begin and end between them.
`cv2.resize` would stretch the whole region instead, and move every pixel by up to half of one.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["area_resample", "linear_resample"]


def area_resample(
    region_HW3: NDArray[np.uint8], *, offset_xy: tuple[float, float], scale: float, tile_px: int
) -> NDArray[np.uint8]:
    """Average over the area of each pixel of a tile.

    Args:
        region_HW3: RGB that holds the tile's box.
        offset_xy: where the box begins, pixels of the region.
        scale: pixels of the region per pixel of the tile, at least 1.
        tile_px: side T of the tile.

    Returns:
        uint8 (T, T, 3), rounded to nearest.
    """
    height, width = region_HW3.shape[:2]
    side = round(scale)
    if scale == side and offset_xy == (0, 0) and height == width == side * tile_px:
        shrunk = cv2.resize(region_HW3, (tile_px, tile_px), interpolation=cv2.INTER_AREA)
        return np.asarray(shrunk, np.uint8)
    rows_T = offset_xy[1] + scale * np.arange(tile_px + 1)
    columns_T = offset_xy[0] + scale * np.arange(tile_px + 1)
    narrow_HT3 = _mean_between(region_HW3.transpose(1, 0, 2), columns_T).transpose(1, 0, 2)
    mean_TT3 = _mean_between(narrow_HT3, rows_T)
    return np.clip(np.rint(mean_TT3), 0, 255).astype(np.uint8)


def _mean_between(
    values_Lxx: NDArray[np.generic], edges_T: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Average the first axis between neighbouring edges, as differences of the running sum."""
    length = values_Lxx.shape[0]
    # float32 holds sums of 8-bit pixels exactly up to 65,000 of them; a tile's region is smaller.
    sums = np.zeros((length + 1, *values_Lxx.shape[1:]), np.float32)
    np.cumsum(values_Lxx, axis=0, dtype=np.float32, out=sums[1:])
    edges_T = np.clip(edges_T, 0, length)
    below_T = np.minimum(edges_T.astype(np.intp), length - 1)
    share_T11 = (edges_T - below_T).astype(np.float32)[:, None, None]
    at_edges = sums[below_T] + share_T11 * (sums[below_T + 1] - sums[below_T])
    return np.asarray(np.diff(at_edges, axis=0) / (edges_T[1] - edges_T[0]), np.float32)


def linear_resample(
    region_HW3: NDArray[np.uint8], *, offset_xy: tuple[float, float], scale: float, tile_px: int
) -> NDArray[np.uint8]:
    """Interpolate between pixel centres, where a slide is a little coarser than asked.

    Args:
        region_HW3: RGB that holds the tile's box; beyond its border the border counts.
        offset_xy: where the box begins, pixels of the region.
        scale: pixels of the region per pixel of the tile, below 1.
        tile_px: side T of the tile.

    Returns:
        uint8 (T, T, 3).
    """
    # Pixel i spans i to i + 1, so its centre is at i + 0.5.
    shift_xy = [offset + 0.5 * scale - 0.5 for offset in offset_xy]
    matrix = np.array([[scale, 0, shift_xy[0]], [0, scale, shift_xy[1]]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (tile_px, tile_px)
    tile = cv2.warpAffine(region_HW3, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(tile, np.uint8)
