"""Pixel arithmetic that every reader shares: background colour and area averaging.

Shapes: rgba_HW4 and rgb_HW3 are uint8; in xy order are only sizes.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["area_average", "fit_within", "on_background"]

# Side of the squares in which a level is read: a multiple of the usual tiles, and 4 MB of RGBA.
_BLOCK_PX = 1024


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
    mean_HW3 = np.zeros((target_height, target_width, 3), np.float32)
    for y in range(0, height, block_px):
        block_height = min(block_px, height - y)
        top, rows_TB = _shares(y, block_height, size=height, target=target_height)
        for x in range(0, width, block_px):
            block_width = min(block_px, width - x)
            left, columns_TB = _shares(x, block_width, size=width, target=target_width)
            block_HW3 = read_block(x, y, block_width, block_height)
            place = np.s_[top : top + len(rows_TB), left : left + len(columns_TB)]
            mean_HW3[place] += _weighted(block_HW3, rows_TB, columns_TB)
    np.rint(mean_HW3, out=mean_HW3)
    return np.clip(mean_HW3, 0, 255, out=mean_HW3).astype(np.uint8)


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


def _shares(first: int, count: int, *, size: int, target: int) -> tuple[int, NDArray[np.float32]]:
    """Return the first target pixel that a run of pixels touches, and its share in each (T, B)."""
    # In whole numbers: target pixel t spans t * size on, a pixel b of the image b * target on.
    begin = first * target // size
    end = -(-(first + count) * target // size)
    starts_T1 = np.arange(begin, end, dtype=np.int64)[:, None] * size
    pixels_B = np.arange(first, first + count, dtype=np.int64) * target
    overlap_TB = np.minimum(pixels_B + target, starts_T1 + size) - np.maximum(pixels_B, starts_T1)
    return begin, (np.clip(overlap_TB, 0, None) / size).astype(np.float32)


def _weighted(
    block_HW3: NDArray[np.uint8], rows_TB: NDArray[np.float32], columns_TB: NDArray[np.float32]
) -> NDArray[np.float32]:
    height, width = block_HW3.shape[:2]
    if height % len(rows_TB) == width % len(columns_TB) == 0 and _is_even(rows_TB, columns_TB):
        size_xy = (len(columns_TB), len(rows_TB))
        # Of floats: OpenCV would round bytes, and a block may hold a part of a pixel only.
        return np.asarray(
            cv2.resize(block_HW3.astype(np.float32), size_xy, interpolation=cv2.INTER_AREA)
        )
    narrow_TW3 = rows_TB @ block_HW3.reshape(height, -1).astype(np.float32)
    narrow_TW3 = narrow_TW3.reshape(len(rows_TB), width, 3)
    return np.asarray(np.einsum("twc,sw->tsc", narrow_TW3, columns_TB, optimize=True), np.float32)


def _is_even(rows_TB: NDArray[np.float32], columns_TB: NDArray[np.float32]) -> bool:
    """Tell whether the block is made of whole target pixels."""
    return bool(
        np.allclose(rows_TB.sum(axis=1), 1, atol=1e-4)
        and np.allclose(columns_TB.sum(axis=1), 1, atol=1e-4)
    )
