"""Our operations as albumentations transforms, for policies of your own too.

They draw from `self.py_random` and `self.random_generator` alone: that is what makes a view a pure
function of its seed (see `policy.apply_seeded`).
"""

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

from medsimclr.augment.blur import blur
from medsimclr.augment.channel_lookup import ChannelLookup
from medsimclr.augment.color import OPERATIONS, Operation, jitter_color
from medsimclr.augment.stain import jitter_stain

__all__ = ["Blur", "ColorJitterV2", "SquareSymmetries", "StainJitter"]


class ColorJitterV2(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is untyped
    """Jitter brightness, contrast, saturation and hue as SimCLRv2 does (`color.jitter_color`).

    Factors are uniform in [max(0, 1 - x), 1 + x], the hue shift in [-hue, hue]; the order of the
    four operations is random.

    Args:
        brightness: half width of the factor's range.
        contrast: the same.
        saturation: the same.
        hue: largest shift, in turns, at most 0.5.
        p: probability of the whole jitter.
    """

    def __init__(
        self, *, brightness: float, contrast: float, saturation: float, hue: float, p: float = 0.5
    ) -> None:
        super().__init__(p=p)
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue

    def get_params(self) -> dict[str, object]:
        """Draw the three factors, the shift and the order."""
        order = [OPERATIONS[index] for index in self.random_generator.permutation(len(OPERATIONS))]
        return {
            "brightness": self._factor(self.brightness),
            "contrast": self._factor(self.contrast),
            "saturation": self._factor(self.saturation),
            "hue_turns": self.py_random.uniform(-self.hue, self.hue),
            "order": order,
        }

    def apply(
        self,
        img: NDArray[np.uint8],
        *,
        brightness: float,
        contrast: float,
        saturation: float,
        hue_turns: float,
        order: list[Operation],
        **_params: object,
    ) -> NDArray[np.uint8]:
        """Apply what get_params drew."""
        return jitter_color(
            img,
            brightness=brightness,
            contrast=contrast,
            saturation=saturation,
            hue_turns=hue_turns,
            order=order,
        )

    def _factor(self, half_width: float) -> float:
        return float(self.py_random.uniform(max(0.0, 1.0 - half_width), 1.0 + half_width))


class StainJitter(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is untyped
    """Jitter haematoxylin, eosin and residual independently (`stain.jitter_stain`).

    Gains are uniform in [1 - gain_sigma, 1 + gain_sigma], offsets in [-offset_sigma, offset_sigma];
    "sigma" is Tellez's word for these half widths.

    Args:
        gain_sigma: half width of the factor's range, at most 1.
        offset_sigma: largest offset of a concentration, natural-log optical density.
        p: probability of the jitter.
    """

    def __init__(self, *, gain_sigma: float, offset_sigma: float, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.gain_sigma = gain_sigma
        self.offset_sigma = offset_sigma
        self._lookup = ChannelLookup(0, 0)

    def get_params(self) -> dict[str, object]:
        """Draw a gain and an offset for each of the three stains."""
        gain = self.random_generator.uniform(-self.gain_sigma, self.gain_sigma, size=3) + 1.0
        offset = self.random_generator.uniform(-self.offset_sigma, self.offset_sigma, size=3)
        return {"gain_HED": gain.tolist(), "offset_HED": offset.tolist()}

    def apply(
        self,
        img: NDArray[np.uint8],
        *,
        gain_HED: list[float],
        offset_HED: list[float],
        **_params: object,
    ) -> NDArray[np.uint8]:
        """Apply what get_params drew."""
        if self._lookup.size_hw != img.shape[:2]:
            self._lookup = ChannelLookup(*img.shape[:2])
        return jitter_stain(img, gain_HED=gain_HED, offset_HED=offset_HED, lookup=self._lookup)


class Blur(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is untyped
    """Blur with a Gaussian whose sigma is uniform in a range (`blur.blur`).

    Args:
        sigma_px: range of the standard deviation, pixels of the view, above 0.
        radius_px: largest radius of the kernel.
        is_zero_padded: whether the view is black beyond its border, as in SimCLRv2.
        p: probability of the blur.
    """

    def __init__(
        self,
        *,
        sigma_px: tuple[float, float],
        radius_px: int,
        is_zero_padded: bool = False,
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.sigma_px = sigma_px
        self.radius_px = radius_px
        self.is_zero_padded = is_zero_padded

    def get_params(self) -> dict[str, object]:
        """Draw the sigma."""
        return {"sigma_px": self.py_random.uniform(*self.sigma_px)}

    def apply(
        self, img: NDArray[np.uint8], *, sigma_px: float, **_params: object
    ) -> NDArray[np.uint8]:
        """Apply what get_params drew."""
        return blur(
            img,
            sigma_px=sigma_px,
            radius_px=self.radius_px,
            is_zero_padded=self.is_zero_padded,
        )


class SquareSymmetries(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is untyped
    """Turn or mirror a tile into one of its eight orientations, each as likely as the others.

    The distribution of A.D4, at a tenth of its time: numpy transposes three-byte pixels slowly.

    Args:
        p: probability; else the tile stays as it is.
    """

    def __init__(self, *, p: float = 1.0) -> None:
        super().__init__(p=p)

    def get_params(self) -> dict[str, object]:
        """Draw one of the eight as three independent halves."""
        transposed, up_down, left_right = (self.random_generator.random(3) < 0.5).tolist()
        return {"transposed": transposed, "up_down": up_down, "left_right": left_right}

    def apply(
        self,
        img: NDArray[np.uint8],
        *,
        transposed: bool,
        up_down: bool,
        left_right: bool,
        **_params: object,
    ) -> NDArray[np.uint8]:
        """Apply what get_params drew."""
        turned = cv2.transpose(img) if transposed else img
        if up_down or left_right:
            # OpenCV's codes: 0 swaps rows, 1 columns, -1 both.
            turned = cv2.flip(turned, -1 if up_down and left_right else int(left_right))
        return np.asarray(turned, dtype=np.uint8)
