"""Random crops with SimCLRv2's distribution, resized to the view.

Source: google-research/simclr, tf2/data_util.py `distorted_bounding_box_crop` (commit 383d414). It
calls tf.image.sample_distorted_bounding_box with aspect ratio 3/4 to 4/3, area 0.08 to 1, at least
0.1 of the image covered and 100 attempts: width / height is uniform, then the height is uniform
between what the area asks at least and what fits at most. The demand to cover 0.1 makes that the
smallest area. Crops have 0.42 of a square tile's area on average; those of albumentations'
RandomResizedCrop, which draws area and log aspect ratio uniformly from 0.08 on, 0.48.
Where we differ: the last row and column can be drawn too (there, the offset is one short).

Resizing is OpenCV's bicubic (a = -0.75) where TensorFlow's is Keys' (a = -0.5); neither smooths
before it shrinks. On the reference's own outputs, of a smooth image, they lie up to 3 grey levels
apart and 0.7 on average, of which rounding to 8 bits is 0.3; on H&E tiles 0.6 on average and 9 at
single pixels. Keys' kernel in numpy would cost ten times as much as all else here: not mended.

Shapes: HW3 = rows, columns, RGB.
"""

import math
import random

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Crop", "draw_crop"]

_ASPECT_MAX = 4 / 3
_ATTEMPTS = 100


def draw_crop(
    height: int, width: int, *, area_min: float, rng: random.Random
) -> tuple[int, int, int, int]:
    """Draw (top, left, height, width) of a crop, in pixels of the tile.

    Args:
        height: rows of the tile.
        width: columns of the tile.
        area_min: smallest area as a fraction of the tile's; 1 gives the whole tile.
        rng: where the draws come from.
    """
    smallest_area = area_min * height * width
    for _ in range(_ATTEMPTS if area_min < 1.0 else 0):
        aspect = rng.uniform(1 / _ASPECT_MAX, _ASPECT_MAX)
        low = round(math.sqrt(smallest_area / aspect))
        high = min(height, math.floor((width + 0.5) / aspect))
        crop_height = rng.randint(low, high) if low < high else high
        crop_width = min(width, round(crop_height * aspect))
        if crop_height * crop_width >= smallest_area and crop_width > 0:
            top = rng.randint(0, height - crop_height)
            left = rng.randint(0, width - crop_width)
            return top, left, crop_height, crop_width
    return 0, 0, height, width


class Crop(A.DualTransform):  # type: ignore[misc]  # albumentations is untyped
    """Cut out a random part of the tile and resize it to the view (`draw_crop`).

    Args:
        view_px: side of the view, pixels.
        area_min: smallest area as a fraction of the tile's. At 1 the whole tile is resized; a tile
            that is a view already is then returned bit for bit.
        p: probability; below 1 some views keep the size of the tile.
    """

    _targets = (A.core.transforms_interface.Targets.IMAGE,)

    def __init__(self, *, view_px: int, area_min: float, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.view_px = view_px
        self.area_min = area_min

    def get_params_dependent_on_data(
        self, params: dict[str, object], data: dict[str, NDArray[np.uint8]]
    ) -> dict[str, object]:
        """Draw the place of the crop."""
        height, width = data["image"].shape[:2]
        box = draw_crop(height, width, area_min=self.area_min, rng=self.py_random)
        return {"box": box}

    def apply(
        self, img: NDArray[np.uint8], *, box: tuple[int, int, int, int], **_params: object
    ) -> NDArray[np.uint8]:
        """Apply what was drawn."""
        top, left, height, width = box
        part_HW3 = img[top : top + height, left : left + width]
        if (height, width) == (self.view_px, self.view_px):
            return part_HW3.copy()
        view_hw = (self.view_px, self.view_px)
        return np.asarray(cv2.resize(part_HW3, view_hw, interpolation=cv2.INTER_CUBIC), np.uint8)
