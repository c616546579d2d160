"""SimCLRv2's augmentation of natural images: the baseline that a domain's policy has to beat.

Source: google-research/simclr, tf2/data_util.py (commit 383d414); arXiv 2002.05709, appendix A.

    contrastive   crop, flip, colour jitter, grey, blur
    supervised    crop, flip

Where the views differ from the published code:
- The crop draws area and log aspect ratio uniformly; TensorFlow draws aspect ratio and height
  uniformly. Same bounds, slightly smaller crops there.
- Bicubic resizing is OpenCV's (a = -0.75) instead of TensorFlow's Keys kernel (a = -0.5): up to 3
  grey levels. Neither smooths before it shrinks.
- Blur mirrors the border; the published one pads with zeros and so darkens a frame of kernel / 2.
- Values are rounded to 8 bits after the crop, the jitter and the blur.
Brightness, contrast, saturation, hue and grey agree with it to 2 grey levels.
"""

import math
from dataclasses import dataclass

import albumentations as A
import cv2

from medsimclr.augment.transforms import Blur, ColorJitterV2

__all__ = ["SimCLRPolicy"]


@dataclass(frozen=True, kw_only=True)
class SimCLRPolicy:
    """Views of natural images. ImageNet: the defaults; CIFAR-10: strength 0.5, blur False."""

    strength: float = 1.0
    """Strength s of the colour jitter, 0 to 2.5: brightness, contrast and saturation 0.8 s, hue 0.2
    s turns. 1 for ImageNet, 0.5 for CIFAR-10 (README of the source)."""
    crop_area_min: float = 0.08
    """Smallest crop as a fraction of the tile's area; the largest is 1 (source: 0.08)."""
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
        if not 0.0 <= self.strength <= 2.5:
            raise ValueError(f"strength must be between 0 and 2.5, got {self.strength!r}")
        if not 0.0 < self.crop_area_min <= 1.0:
            raise ValueError(
                f"crop_area_min must be above 0 and at most 1, got {self.crop_area_min!r}"
            )
        for name in ("flip_p", "jitter_p", "grey_p", "blur_p"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)!r}")
        low_px, high_px = self.blur_sigma_px
        if not 0.0 < low_px <= high_px < math.inf:
            raise ValueError(
                f"blur_sigma_px must be two rising numbers above 0, got {self.blur_sigma_px!r}"
            )

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
            transforms.append(Blur(sigma_px=self.blur_sigma_px, radius_px=radius_px, p=self.blur_p))
        return A.Compose(transforms)

    def supervised(self, view_px: int) -> A.Compose:
        """Return crop and flip."""
        return A.Compose(self._geometry(view_px))

    def _geometry(self, view_px: int) -> list[A.BasicTransform]:
        return [
            A.RandomResizedCrop(
                (view_px, view_px),
                scale=(self.crop_area_min, 1.0),
                ratio=(3 / 4, 4 / 3),
                interpolation=cv2.INTER_CUBIC,
            ),
            A.HorizontalFlip(p=self.flip_p),
        ]
