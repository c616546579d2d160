"""Which transforms of a pipeline move pixels, and the pipeline without them.

Views without geometry show what a policy does to colours alone: two of them, or one of them and its
tile, can be compared pixel by pixel.
"""

import copy

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from medsimclr.augment.crop import Crop
from medsimclr.augment.transforms import SquareSymmetries

__all__ = ["is_geometric", "resize_whole", "without_geometry"]

_GEOMETRIC_MODULES = (
    "albumentations.augmentations.crops.",
    "albumentations.augmentations.geometric.",
)
_OUR_GEOMETRY = (Crop, SquareSymmetries)


def is_geometric(transform: type) -> bool:
    """Tell whether a transform crops, resizes, flips, turns or distorts, by its class.

    A stranger's class is believed if it says that it would move a mask too (`A.DualTransform`).
    """
    if transform.__module__.startswith("albumentations."):
        is_moving = transform.__module__.startswith(_GEOMETRIC_MODULES)
        return is_moving and transform is not A.Morphological
    return transform in _OUR_GEOMETRY or issubclass(transform, A.DualTransform)


def without_geometry(compose: A.BaseCompose) -> A.BaseCompose:
    """Return a copy whose geometric transforms, nested ones too, do nothing.

    They stay in place as A.NoOp: in A.OneOf, what is not geometric stays as likely as it was. The
    other transforms are shared with the original: draw from one of both at a time.
    """
    copied = copy.copy(compose)
    copied.transforms = [_still(transform) for transform in compose.transforms]
    return copied


def resize_whole(tile_HW3: NDArray[np.uint8], view_px: int) -> NDArray[np.uint8]:
    """Resize a whole tile, square or not, to the side of a view: for views without geometry."""
    view_VV3 = cv2.resize(tile_HW3, (view_px, view_px), interpolation=cv2.INTER_AREA)
    return np.asarray(view_VV3, dtype=np.uint8)


def _still(transform: A.BasicTransform | A.BaseCompose) -> A.BasicTransform | A.BaseCompose:
    if isinstance(transform, A.BaseCompose):
        return without_geometry(transform)
    return A.NoOp(p=transform.p) if is_geometric(type(transform)) else transform
