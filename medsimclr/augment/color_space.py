"""Tiles in LAB, HED and HSV, and the change of mean and spread in one of them.

Source: Reinhard et al. 2001 (IEEE CG&A 21:34): c' = (c - mean) / std * new std + new mean
in each channel; Shen et al. 2022 (RandStainNA, arXiv 2206.12694) for the three spaces.

    lab   CIELAB of sRGB under D65: L 0 to 100, a, b
    hed   concentrations of haematoxylin, eosin, residual in optical density, as in `stain`
    hsv   hue in degrees from green (120 degrees) on, saturation and value 0 to 1: H&E has every hue
          from blue over purple to red, so that a mean over plain hues would jump at red

Where we differ: glass stays, since pixels are mixed with the original by the presence of tissue, which
rises with their mean optical density; and no channel loses more than half of its optical density.
"""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from medsimclr.augment.stain import HED_TO_OD, KEPT_OD, OD_OF_LEVEL

__all__ = ["ColorSpace", "change_channels", "from_space", "tissue_mask", "to_space"]

ColorSpace = Literal["lab", "hed", "hsv"]

_UNIT_OF_LEVEL = (np.arange(256) / 255.0).astype(np.float32)
_OD_OF_LEVEL = OD_OF_LEVEL.astype(np.float32)
_BRIGHTEST_OF_LEVEL = np.round(255.0 * np.exp(-KEPT_OD * OD_OF_LEVEL)).astype(np.uint8)
# A template's change is large, so that grey glass must not begin to take part: LC25000's has 0.11.
_GLASS_OD, _TISSUE_OD = 0.12, 0.28
_TO_PRESENCE = np.array([[1 / 3, 1 / 3, 1 / 3, -_GLASS_OD]]) / (_TISSUE_OD - _GLASS_OD)
_FROM_OD = np.linalg.inv(HED_TO_OD)
_FIRST_HUE = 120.0


def to_space(image_HW3: NDArray[np.uint8], space: ColorSpace) -> NDArray[np.float32]:
    """Return the three channels of a tile in a colour space."""
    if space == "hed":
        od_HW3 = cv2.LUT(image_HW3, _OD_OF_LEVEL)
        return np.asarray(cv2.transform(od_HW3, _FROM_OD.T), dtype=np.float32)
    unit_HW3 = cv2.LUT(image_HW3, _UNIT_OF_LEVEL)
    if space == "lab":
        return np.asarray(cv2.cvtColor(unit_HW3, cv2.COLOR_RGB2LAB), dtype=np.float32)
    hsv_HW3 = np.asarray(cv2.cvtColor(unit_HW3, cv2.COLOR_RGB2HSV), dtype=np.float32)
    hue_HW = hsv_HW3[..., 0]
    hue_HW -= _FIRST_HUE
    hue_HW += 360.0 * (hue_HW < 0.0)
    return hsv_HW3


def from_space(channels_HW3: NDArray[np.float32], space: ColorSpace) -> NDArray[np.uint8]:
    """Return the tile again; what no RGB colour has is brought to the nearest edge by channel."""
    if space == "hed":
        od_HW3 = cv2.transform(channels_HW3, HED_TO_OD.T)
        unit_HW3 = cv2.exp(-np.maximum(od_HW3, 0.0))
    elif space == "lab":
        unit_HW3 = cv2.cvtColor(channels_HW3, cv2.COLOR_LAB2RGB)
    else:
        hsv_HW3 = np.clip(channels_HW3, 0.0, np.array([359.9, 1.0, 1.0], dtype=np.float32))
        hsv_HW3[..., 0] += _FIRST_HUE
        hsv_HW3[..., 0] -= 360.0 * (hsv_HW3[..., 0] >= 360.0)
        unit_HW3 = cv2.cvtColor(hsv_HW3, cv2.COLOR_HSV2RGB)
    # Beyond the range of bytes convertScaleAbs would fold negative values back.
    return np.asarray(cv2.convertScaleAbs(np.clip(unit_HW3, 0.0, 1.0), alpha=255.0), dtype=np.uint8)


def change_channels(
    image_HW3: NDArray[np.uint8],
    *,
    space: ColorSpace,
    gain: Sequence[float],
    offset: Sequence[float],
) -> NDArray[np.uint8]:
    """Scale and shift the channels of a tile in a colour space; glass stays.

    Args:
        image_HW3: RGB tile; any size.
        space: the colour space.
        gain: factor of each channel.
        offset: added to each channel after the factor, in its unit.

    Returns:
        A new image; gain 1 with offset 0 returns the input bit for bit.
    """
    if all(factor == 1.0 for factor in gain) and not any(offset):
        return image_HW3.copy()
    affine = np.hstack([np.diag(gain), np.reshape(offset, (3, 1))])
    channels_HW3 = cv2.transform(to_space(image_HW3, space), affine)
    changed_HW3 = from_space(np.asarray(channels_HW3, dtype=np.float32), space)
    cv2.min(changed_HW3, cv2.LUT(image_HW3, _BRIGHTEST_OF_LEVEL), dst=changed_HW3)
    presence_HW = _presence(image_HW3)
    if presence_HW.min() >= 1.0:
        return changed_HW3
    presence_HW3 = cv2.cvtColor(np.clip(presence_HW, 0.0, 1.0), cv2.COLOR_GRAY2RGB)
    image = image_HW3.astype(np.float32)
    mixed_HW3 = image + presence_HW3 * (changed_HW3 - image)
    return np.asarray(cv2.convertScaleAbs(mixed_HW3), dtype=np.uint8)


def tissue_mask(image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 255 where a pixel is half way or more from glass to tissue, else 0 (for OpenCV)."""
    return np.asarray(cv2.inRange(_presence(image_HW3), 0.5, 1e9), dtype=np.uint8)


def _presence(image_HW3: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the presence of tissue by mean optical density, not yet limited to 0 and 1."""
    od_HW3 = cv2.LUT(image_HW3, _OD_OF_LEVEL)
    return np.asarray(cv2.transform(od_HW3, _TO_PRESENCE), dtype=np.float32)
