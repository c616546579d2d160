"""Tiles in LAB, HED and HSV, and the change of mean and spread in one of them.

Source: Reinhard et al. 2001 (IEEE CG&A 21:34): c' = (c - mean) / std * new std + new mean
in each channel; Shen et al. 2022 (RandStainNA, arXiv 2206.12694) for the three spaces.

    lab   CIELAB of sRGB under D65: L to 100, a, b; cube root throughout, without the linear toe of
          what reflects less than 0.9 % (OpenCV's own conversion is 0.3 off and slower)
    hed   concentrations of haematoxylin, eosin, residual in optical density, as in `stain`
    hsv   hue in degrees from green (120 degrees) on, saturation and value 0 to 1: H&E has every hue
          from blue over purple to red, so that a mean over plain hues would jump at red

Where we differ: glass stays, since pixels are mixed with the original by the presence of tissue,
which rises with their mean optical density; and no channel loses more than half of its density.
"""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import stringzilla
from numpy.typing import NDArray

from medsimclr.augment.stain import HED_TO_OD, KEPT_OD, OD_OF_LEVEL, OD_TO_HED

__all__ = ["ColorSpace", "change_channels", "from_space", "tissue_mask", "to_space"]

ColorSpace = Literal["lab", "hed", "hsv"]

_UNIT_OF_LEVEL = (np.arange(256.0) / 255.0).astype(np.float32)
_OD_OF_LEVEL = OD_OF_LEVEL.astype(np.float32)
_BRIGHTEST_OF_LEVEL = np.round(255.0 * np.exp(-KEPT_OD * OD_OF_LEVEL)).astype(np.uint8)
# A template's change is large, so that grey glass must not take part: in the lung tiles of LC25000
# that are a third glass, its density is 0.15 to 0.21 (10th to 90th percentile).
_GLASS_OD, _TISSUE_OD = 0.20, 0.32
_TO_PRESENCE = np.array([[1 / 3, 1 / 3, 1 / 3, -_GLASS_OD]]) / (_TISSUE_OD - _GLASS_OD)
_FIRST_HUE = 120.0

# IEC 61966-2-1: XYZ under D65, each relative to white; CIE 1976: L, a, b from their cube roots.
_SRGB_TO_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
_TO_XYZ = _SRGB_TO_XYZ / _SRGB_TO_XYZ.sum(axis=1, keepdims=True)
_FROM_XYZ = np.linalg.inv(_TO_XYZ)
_TO_LAB = np.array([[0.0, 116.0, 0.0, -16.0], [500.0, -500.0, 0.0, 0.0], [0.0, 200.0, -200.0, 0.0]])
_FROM_LAB = np.linalg.inv(_TO_LAB[:, :3])
_FROM_LAB = np.hstack([_FROM_LAB, -_FROM_LAB @ _TO_LAB[:, 3:]])


def _linear(unit_N: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(unit_N <= 0.04045, unit_N / 12.92, ((unit_N + 0.055) / 1.055) ** 2.4)


# Never quite 0, whose logarithm is none.
_LINEAR_OF_LEVEL = np.maximum(_linear(np.arange(256.0) / 255.0), 1e-7).astype(np.float32)
_LEVEL_OF_LINEAR = np.searchsorted(
    _linear((np.arange(255.0) + 0.5) / 255.0), np.arange(65536) / 65535.0
).astype(np.uint8)


def to_space(image_HW3: NDArray[np.uint8], space: ColorSpace) -> NDArray[np.float32]:
    """Return the three channels of a tile in a colour space."""
    if space == "hed":
        od_HW3 = cv2.LUT(image_HW3, _OD_OF_LEVEL)
        return np.asarray(cv2.transform(od_HW3, OD_TO_HED.T), dtype=np.float32)
    if space == "lab":
        xyz_HW3 = cv2.transform(cv2.LUT(image_HW3, _LINEAR_OF_LEVEL), _TO_XYZ)
        roots_HW3 = cv2.exp(cv2.log(xyz_HW3) / np.float32(3.0))
        return np.asarray(cv2.transform(roots_HW3, _TO_LAB), dtype=np.float32)
    unit_HW3 = cv2.LUT(image_HW3, _UNIT_OF_LEVEL)
    hsv_HW3 = np.asarray(cv2.cvtColor(unit_HW3, cv2.COLOR_RGB2HSV), dtype=np.float32)
    # numpy takes several times as long for every third number as for a plane.
    hue_HW = np.asarray(cv2.extractChannel(hsv_HW3, 0), dtype=np.float32)
    hue_HW -= _FIRST_HUE
    hue_HW[hue_HW < 0.0] += 360.0
    cv2.insertChannel(hue_HW, hsv_HW3, 0)
    return hsv_HW3


def from_space(channels_HW3: NDArray[np.float32], space: ColorSpace) -> NDArray[np.uint8]:
    """Return the tile again; what no RGB colour has is brought to the nearest edge by channel."""
    if space == "lab":
        roots_HW3 = np.maximum(cv2.transform(channels_HW3, _FROM_LAB), 0.0)
        linear_HW3 = cv2.transform(cv2.pow(roots_HW3, 3.0), _FROM_XYZ)
        linear_HW3 = np.clip(65535.0 * linear_HW3 + 0.5, 0.0, 65535.0)
        return np.asarray(cv2.LUT(linear_HW3.astype(np.uint16), _LEVEL_OF_LINEAR), dtype=np.uint8)
    if space == "hed":
        unit_HW3 = cv2.transform(channels_HW3, -HED_TO_OD.T)
        np.minimum(unit_HW3, 0.0, out=unit_HW3)
        cv2.exp(unit_HW3, dst=unit_HW3)
    else:
        planes = [cv2.extractChannel(channels_HW3, channel) for channel in range(3)]
        for plane_HW, largest in zip(planes, (359.9, 1.0, 1.0), strict=True):
            np.clip(plane_HW, 0.0, largest, out=plane_HW)
        hue_HW = np.add(planes[0], _FIRST_HUE, out=planes[0])
        hue_HW[hue_HW >= 360.0] -= 360.0
        unit_HW3 = cv2.cvtColor(cv2.merge(planes), cv2.COLOR_HSV2RGB)
        # Beyond the range of bytes convertScaleAbs would fold negative values back.
        np.clip(unit_HW3, 0.0, 1.0, out=unit_HW3)
    return np.asarray(cv2.convertScaleAbs(unit_HW3, alpha=255.0), dtype=np.uint8)


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
    brightest_HW3 = image_HW3.copy()
    stringzilla.translate(brightest_HW3.data, _BRIGHTEST_OF_LEVEL.data, inplace=True)
    cv2.min(changed_HW3, brightest_HW3, dst=changed_HW3)
    presence_HW = _presence(image_HW3)
    if presence_HW.min() >= 1.0:
        return changed_HW3
    presence_HW3 = cv2.cvtColor(np.clip(presence_HW, 0.0, 1.0), cv2.COLOR_GRAY2RGB)
    image = image_HW3.astype(np.float32)
    mixed_HW3 = changed_HW3 - image
    mixed_HW3 *= presence_HW3
    mixed_HW3 += image
    return np.asarray(cv2.convertScaleAbs(mixed_HW3), dtype=np.uint8)


def tissue_mask(image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 255 where a pixel is half way or more from glass to tissue, else 0 (for OpenCV)."""
    return np.asarray(cv2.inRange(_presence(image_HW3), 0.5, 1e9), dtype=np.uint8)


def _presence(image_HW3: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the presence of tissue by mean optical density, not yet limited to 0 and 1."""
    od_HW3 = cv2.LUT(image_HW3, _OD_OF_LEVEL)
    return np.asarray(cv2.transform(od_HW3, _TO_PRESENCE), dtype=np.float32)
