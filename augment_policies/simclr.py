"""SimCLRv2's augmentation of natural images: the baseline that a domain's policy has to beat.

Source: google-research/simclr, tf2/data_util.py (commit 383d414); arXiv 2002.05709, appendix A.

    contrastive   crop, flip, colour jitter, grey, blur
    supervised    crop, flip

Where the views differ from the published code, on its own outputs (tests/augment_policies):
- Bicubic resizing is OpenCV's (a = -0.75) instead of TensorFlow's Keys kernel (a = -0.5): up to 3
  grey levels, 0.7 on average, rounding included. Neither smooths before it shrinks.
- Values are rounded to 8 bits after the crop, the jitter and the blur: brightness, contrast,
  saturation, hue, grey and blur agree to 2 grey levels, 0.3 to 0.4 on average.
- Contrast keeps the mean of each channel and saturation is that of HSV, as there; albumentations'
  own ColorJitter follows torchvision, which does neither (see `medsimclr.augment.color`).
Crops have the published distribution (`medsimclr.augment.crop`), and the blur its black border,
which is up to 128 grey levels away from a mirrored one.

When it hurts: on stained tissue. Hue and saturation say which stain and which laboratory, and a
view without colour has lost the difference between nucleus and cytoplasm.
"""

import dataclasses
from dataclasses import dataclass
from typing import Self

import albumentations as A

from medsimclr.augment.crop import Crop
from medsimclr.augment.ranges import check_between, check_rising
from medsimclr.augment.transforms import Blur, ColorJitterV2

__all__ = ["SimCLRPolicy"]


@dataclass(frozen=True, kw_only=True)
class SimCLRPolicy:
    """Views of natural images. ImageNet: the defaults; CIFAR-10: strength 0.5, blur False."""

    strength: float = 1.0
    """Strength s of the colour jitter, 0 to 2.5: brightness, contrast and saturation 0.8 s, hue 0.2
    s turns. 1 for ImageNet, 0.5 for CIFAR-10 (README of the source)."""
    crop_area_min: float = 0.1
    """Smallest crop as a fraction of the tile's area; the largest is 1 (source: 0.08, but its call
    also demands that a crop covers a tenth of the image)."""
    flip_p: float = 0.5
    """Probability of a horizontal flip (source: 0.5)."""
    jitter_p: float = 0.8
    """Probability of the colour jitter (source: 0.8)."""
    grey_p: float = 0.2
    """Probability of dropping colour (source: 0.2)."""
    blur: bool = True
    """Whether views are blurred; views of 32 px or less never are (source: off for CIFAR-10)."""
    blur_p: float = 0.5
    """Probability of the blur (source: 0.5)."""
    blur_sigma_px: tuple[float, float] = (0.1, 2.0)
    """Range of the Gaussian's standard deviation, pixels of the view (source: 0.1 to 2)."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_between(self, 0, 2.5, "strength")
        check_between(self, 0, 1, "crop_area_min", "flip_p", "jitter_p", "grey_p", "blur_p")
        check_rising(self, "blur_sigma_px")

    def contrastive(self, view_px: int) -> A.Compose:
        """Return crop, flip, colour jitter, grey and blur."""
        color = 0.8 * self.strength
        transforms = [
            *self._geometry(view_px),
            ColorJitterV2(
                brightness=color,
                contrast=color,
                saturation=color,
                hue=0.2 * self.strength,
                p=self.jitter_p,
            ),
            A.ToGray(num_output_channels=3, p=self.grey_p),
        ]
        if self.blur and view_px > 32:
            radius_px = view_px // 10 // 2
            transforms.append(
                Blur(
                    sigma_px=self.blur_sigma_px,
                    radius_px=radius_px,
                    is_zero_padded=True,
                    p=self.blur_p,
                )
            )
        return A.Compose(transforms)

    def supervised(self, view_px: int) -> A.Compose:
        """Return crop and flip."""
        return A.Compose(self._geometry(view_px))

    def scaled(self, strength: float) -> Self:
        """Return the policy with smaller or larger differences."""
        low_px, high_px = self.blur_sigma_px
        return dataclasses.replace(
            self,
            strength=min(2.5, self.strength * strength),
            crop_area_min=self.crop_area_min**strength,
            flip_p=self.flip_p * min(strength, 1.0),
            grey_p=min(1.0, self.grey_p * strength),
            blur_p=self.blur_p * (strength > 0),
            blur_sigma_px=(low_px, max(low_px, high_px * strength)),
        )

    def _geometry(self, view_px: int) -> list[A.BasicTransform]:
        crop = Crop(view_px=view_px, area_min=self.crop_area_min)
        return [crop, A.HorizontalFlip(p=self.flip_p)]
