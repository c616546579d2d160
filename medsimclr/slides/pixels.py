"""Pixel arithmetic that every reader shares: background colour and area averaging.

Shapes: rgba_HW4 and rgb_HW3 are uint8; in xy order are only sizes.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["area_average", "fit_within", "on_background"]

# Side of the squares in which a level is read: a multiple of the usual tiles, and 1 MB of RGBA.
_BLOCK_PX = 512


def on_background(
    rgba_HW4: NDArray[np.uint8], *, background_rgb: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Composite straight (not premultiplied) RGBA on one colour, rounded to the nearest integer."""
    rgb_HW3 = np.asarray(cv2.cvtColor(rgba_HW4, cv2.COLOR_RGBA2RGB), np.uint8)
    alpha_HW = rgba_HW4[:, :, 3]
    if alpha_HW.min(initial=255) == 255:
        return rgb_HW3
    alpha_HW1 = alpha_HW[:, :, None].astype(np.uint32)
    background_3 = np.array(background_rgb, np.uint32)
    blended_HW3 = (rgb_HW3 * alpha_HW1 + background_3 * (255 - alpha_HW1) + 127) // 255
    return blended_HW3.astype(np.uint8)


def fit_within(size_xy: tuple[int, int], *, max_px: int) -> tuple[int, int]:
    """Return the size of the same shape whose longer side is max_px; never larger than size_xy."""
    scale = min(1.0, max_px / max(size_xy))
    return max(1, round(size_xy[0] * scale)), max(1, round(size_xy[1] * scale))


def area_average(
    read_block: Callable[[int, int, int, int], NDArray[np.uint8]],
    *,
    size_xy: tuple[int, int],
    target_xy: tuple[int, int],
    block_px: int = _BLOCK_PX,
) -> NDArray[np.uint8]:
    """Shrink an image by averaging over the area of each target pixel, block by block.

    Rows of a wide slide would each take memory that grows with it, and cut its tiles into strips
    that are decoded again for every band.

    Args:
        read_block: Gives the rectangle (x, y, width, height) as RGB.
        size_xy: Width and height of the image.
        target_xy: Target width and height, neither larger than the image's.
        block_px: Longest side of a block.

    Returns:
        uint8 (target height, target width, 3).
    """
    (width, height), (target_width, target_height) = size_xy, target_xy
    assert 1 <= target_width <= width, (size_xy, target_xy)
    assert 1 <= target_height <= height, (size_xy, target_xy)
    if size_xy == target_xy:
        return _joined(read_block, size_xy, block_px=block_px)
    image_HW3 = np.empty((target_height, target_width, 3), np.uint8)
    carried_1W3 = np.zeros((1, target_width, 3), np.int64)
    for y in range(0, height, block_px):
        n_rows = min(block_px, height - y)
        top, row_edges_T = _edges(y, n_rows, size=height, target=target_height)
        sums_TW3 = np.zeros((len(row_edges_T) - 1, target_width, 3), np.int64)
        sums_TW3[:1] += carried_1W3
        for x in range(0, width, block_px):
            n_columns = min(block_px, width - x)
            left, edges_T = _edges(x, n_columns, size=width, target=target_width)
            block_HW3 = read_block(x, y, n_columns, n_rows)
            narrow_TW3 = _sums_between(block_HW3, row_edges_T, unit=target_height)
            sums_CT3 = _sums_between(narrow_TW3.swapaxes(0, 1), edges_T, unit=target_width)
            sums_TW3[:, left : left + len(sums_CT3)] += sums_CT3.swapaxes(0, 1)
        # The last row goes on in the next blocks, unless it ends where these end.
        is_cut = (y + n_rows) * target_height % height != 0
        n_done = len(sums_TW3) - is_cut
        carried_1W3 = sums_TW3[-1:] if is_cut else np.zeros_like(carried_1W3)
        n_units = width * height
        image_HW3[top : top + n_done] = (2 * sums_TW3[:n_done] + n_units) // (2 * n_units)
    return image_HW3


def _joined(
    read_block: Callable[[int, int, int, int], NDArray[np.uint8]],
    size_xy: tuple[int, int],
    *,
    block_px: int,
) -> NDArray[np.uint8]:
    width, height = size_xy
    image_HW3 = np.empty((height, width, 3), np.uint8)
    for y in range(0, height, block_px):
        for x in range(0, width, block_px):
            block_HW3 = read_block(x, y, min(block_px, width - x), min(block_px, height - y))
            image_HW3[y : y + block_px, x : x + block_px] = block_HW3
    return image_HW3


def _edges(first: int, count: int, *, size: int, target: int) -> tuple[int, NDArray[np.int64]]:
    """Return the first target pixel that a run of pixels touches, and the edges of all of them.

    In whole numbers: a pixel is `target` units long, a target pixel `size`. The edges, one more
    than target pixels, are cut to the run and count from its begin.
    """
    begin = first * target // size
    end = -(-(first + count) * target // size)
    edges_T = np.arange(begin, end + 1, dtype=np.int64) * size - first * target
    return begin, np.clip(edges_T, 0, count * target)


def _sums_between(
    values_Lxx: NDArray[np.integer], edges_T: NDArray[np.int64], *, unit: int
) -> NDArray[np.int64]:
    """Sum the first axis between neighbouring edges, which cut what they pass through.

    In whole numbers: a sum of floats would depend on its order, which changes with the number of
    threads and the kind of processor, and two machines would write two stores.
    """
    whole_T, part_T = np.divmod(edges_T, unit)
    inside_T = np.minimum(whole_T, len(values_Lxx) - 1)
    # Sums of 8-bit pixels fit 32 bits, and are twice as fast so.
    dtype = np.int32 if values_Lxx.dtype == np.uint8 else np.int64
    sums_Txx = np.add.reduceat(values_Lxx, inside_T[:-1], axis=0, dtype=dtype) * np.int64(unit)
    sums_Txx[whole_T[1:] == whole_T[:-1]] = 0  # where reduceat gives the value itself
    beyond_Txx = values_Lxx[inside_T] * part_T[:, None, None]
    return np.asarray(sums_Txx + beyond_Txx[1:] - beyond_Txx[:-1], np.int64)
