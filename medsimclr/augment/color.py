"""Colour jitter as SimCLRv2 computes it.

Source: google-research/simclr, tf2/data_util.py (commit 383d414) and the tf.image functions that it
calls. Images are float32 in [0, 1] in between and are clipped after each of the four operations.

albumentations' ColorJitter follows torchvision, which is another distribution: it pulls contrast
towards one grey level where TensorFlow keeps the mean of each channel (on a pink tile a weak
contrast turns grey there and stays pink here), it blends saturation with grey where TensorFlow
scales S of HSV at constant V, and it rounds hue to one of 180 values.
"""

import itertools
from collections.abc import Sequence
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["OPERATIONS", "Operation", "jitter_color"]

Operation = Literal["brightness", "contrast", "saturation", "hue"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)

_UNIT_OF_LEVEL = (np.arange(256) / 255.0).astype(np.float32)
_IN_HSV = frozenset({"saturation", "hue"})


def jitter_color(
    image_HW3: NDArray[np.uint8],
    *,
    brightness: float = 1.0,
    contrast: float = 1.0,
    saturation: float = 1.0,
    hue_turns: float = 0.0,
    order: Sequence[Operation] = OPERATIONS,
) -> NDArray[np.uint8]:
    """Apply the four colour operations in the order given.

    Args:
        image_HW3: RGB tile.
        brightness: factor of all values.
        contrast: factor of the distance to the mean of each channel.
        saturation: factor of S in HSV.
        hue_turns: added to the hue, in turns (1 is the whole circle).
        order: the operations, each at most once.
    """
    unit_HW3 = np.asarray(cv2.LUT(image_HW3, _UNIT_OF_LEVEL), dtype=np.float32)
    # Two buffers are used in turn: fresh ones of this size would cost more in page faults than
    # the arithmetic does.
    spare_HW3 = np.empty_like(unit_HW3)
    # Two neighbours in HSV share one conversion: no clipping falls between them.
    for is_hsv, group in itertools.groupby(order, key=_IN_HSV.__contains__):
        names = list(group)
        if is_hsv:
            factor = saturation if "saturation" in names else 1.0
            _change_hsv(unit_HW3, spare_HW3, factor, hue_turns if "hue" in names else 0.0)
            continue
        for name in names:
            if name == "brightness":
                _scale(unit_HW3, spare_HW3, brightness, about=(0.0, 0.0, 0.0))
            else:
                _scale(unit_HW3, spare_HW3, contrast, about=cv2.mean(unit_HW3)[:3])
            unit_HW3, spare_HW3 = spare_HW3, unit_HW3
    return np.asarray(cv2.convertScaleAbs(unit_HW3, alpha=255.0), dtype=np.uint8)


def _scale(
    unit_HW3: NDArray[np.float32],
    scaled_HW3: NDArray[np.float32],
    factor: float,
    *,
    about: Sequence[float],
) -> None:
    """Scale the distance of every value to one colour and clip to [0, 1], into scaled_HW3."""
    bias = (1.0 - factor) * np.array([about]).T
    cv2.transform(unit_HW3, np.hstack([factor * np.eye(3), bias]), dst=scaled_HW3)
    np.clip(scaled_HW3, 0.0, 1.0, out=scaled_HW3)


def _change_hsv(
    unit_HW3: NDArray[np.float32], hsv_HW3: NDArray[np.float32], factor: float, hue_turns: float
) -> None:
    """Scale saturation (clipped to 1) and turn the hue, in place; hsv_HW3 is scratch."""
    cv2.cvtColor(unit_HW3, cv2.COLOR_RGB2HSV, dst=hsv_HW3)
    # Upwards only, since OpenCV wraps hues beyond 360 degrees but takes negative ones wrongly.
    turn = np.array([[360.0 * (hue_turns % 1.0)], [0.0], [0.0]])
    cv2.transform(hsv_HW3, np.hstack([np.diag([1.0, factor, 1.0]), turn]), dst=unit_HW3)
    np.minimum(unit_HW3[..., 1], 1.0, out=unit_HW3[..., 1])
    cv2.cvtColor(unit_HW3, cv2.COLOR_HSV2RGB, dst=hsv_HW3)
    np.clip(hsv_HW3, 0.0, 1.0, out=unit_HW3)
