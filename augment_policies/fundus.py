"""Views of retina photographs: one lamp, one lens, black around the eye.

    contrastive   crop, one of the 8 symmetries of the square, brightness, saturation, hue, gamma,
                  blur
    supervised    crop, one of the 8 symmetries of the square

Cameras differ in flash, white balance, film curve and focus, and eyes in pigment. Brightness,
saturation and hue are those of Huang et al. 2021 (arXiv 2107.08274; github.com/YijinHuang/
Lesion-based-Contrastive-Learning, config.py: 0.4, 0.4, 0.4 and 0.1), who pretrain on EyePACS; their
contrast of 0.4 is a gamma here, since a change about the mean would lift the black around the eye;
their turns of any angle are quarter turns and mirrors, which invent no corners; their grey, 0.2, is
left out: red from yellow is haemorrhage from exudate.

When it hurts: where the side of the eye or the place of a finding is the label: `symmetry_p` 0.
Microaneurysms are a few pixels: raise `crop_area_min`, set `blur_p` to 0 and take large views.
"""

import dataclasses
from dataclasses import dataclass
from typing import Self

import albumentations as A

from medsimclr.augment.crop import Crop
from medsimclr.augment.intensity import IntensityJitter
from medsimclr.augment.ranges import check_between
from medsimclr.augment.transforms import Blur, ColorJitterV2, SquareSymmetries

__all__ = ["FundusPolicy"]


@dataclass(frozen=True, kw_only=True)
class FundusPolicy:
    """Views of retina photographs: flash, white balance, film curve, focus; black stays black."""

    crop_area_min: float = 0.3
    """Smallest crop as a fraction of the tile's area; the largest is 1 (chosen here: Huang 0.8 of a
    patch around a lesion, SimCLRv2 a tenth)."""
    symmetry_p: float = 1.0
    """Probability of one of the 8 symmetries (Huang: flips and any turn)."""
    brightness: float = 0.4
    """Half width of the factor of all values (Huang)."""
    gamma: float = 0.4
    """Half width of the logarithm of gamma: exponents 0.67 to 1.49 (for Huang's contrast, 0.4)."""
    saturation: float = 0.4
    """Half width of the factor of S in HSV (Huang)."""
    hue: float = 0.05
    """Largest change of hue, turns (half of Huang's, which turns retinas green)."""
    colour_p: float = 0.8
    """Probability of brightness, saturation and hue, and of gamma (SimCLRv2; Huang: 1)."""
    blur_p: float = 0.3
    """Probability of the blur (chosen here)."""
    blur_sigma_px: float = 1.0
    """Largest standard deviation of the Gaussian, pixels of the view (chosen here: half of
    SimCLRv2's, so that vessels stay)."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_between(self, 0, 1, "crop_area_min", "symmetry_p", "colour_p", "blur_p")
        check_between(self, 0, 2, "brightness", "saturation")
        check_between(self, 0, 3, "gamma")
        check_between(self, 0, 0.5, "hue")
        check_between(self, 0, 100, "blur_sigma_px")

    def contrastive(self, view_px: int) -> A.Compose:
        """Return crop, symmetry, colour, gamma and blur."""
        return A.Compose(
            [
                *self._geometry(view_px),
                ColorJitterV2(
                    brightness=self.brightness,
                    contrast=0.0,
                    saturation=self.saturation,
                    hue=self.hue,
                    p=self.colour_p,
                ),
                IntensityJitter(gamma=self.gamma, is_shared=True, p=self.colour_p),
                Blur(
                    sigma_px=(min(0.1, self.blur_sigma_px), self.blur_sigma_px),
                    radius_px=view_px,
                    p=self.blur_p * (self.blur_sigma_px > 0),
                ),
            ]
        )

    def supervised(self, view_px: int) -> A.Compose:
        """Return crop and symmetry."""
        return A.Compose(self._geometry(view_px))

    def scaled(self, strength: float) -> Self:
        """Return the policy with smaller or larger differences."""
        return dataclasses.replace(
            self,
            crop_area_min=self.crop_area_min**strength,
            symmetry_p=self.symmetry_p * min(strength, 1.0),
            brightness=min(2.0, self.brightness * strength),
            gamma=min(3.0, self.gamma * strength),
            saturation=min(2.0, self.saturation * strength),
            hue=min(0.5, self.hue * strength),
            blur_sigma_px=min(100.0, self.blur_sigma_px * strength),
        )

    def _geometry(self, view_px: int) -> list[A.BasicTransform]:
        crop = Crop(view_px=view_px, area_min=self.crop_area_min)
        return [crop, SquareSymmetries(p=self.symmetry_p)]
