"""Views of radiographs: grey images with an up, a left and a right.

    contrastive   small turn, crop, flip, gain and gamma, noise
    supervised    small turn, crop, flip

Turns of up to 10 degrees and horizontal flips are MoCo-CXR's (Sowrirajan et al. 2021, arXiv
2010.05352), which leaves out colour, as there is none, and crops and blur, since a nodule or a fine
line may be what the image is about. Crops are kept here, but large: without them all views of a
chest look alike. What differs between two machines is exposure and the curve from dose to grey:
gain and gamma, the same for the three channels, so that grey stays grey; and the noise of the dose.

When it hurts: a flip makes dextrocardia of a heart and hides the side of a finding: `flip_p` 0
where the side matters. Small nodules: raise `crop_area_min`. Bone density or other absolute greys:
`gain` and `gamma` 0.
"""

import dataclasses
from dataclasses import dataclass
from typing import Self

import albumentations as A
import cv2

from medsimclr.augment.crop import Crop
from medsimclr.augment.intensity import IntensityJitter, SensorNoise
from medsimclr.augment.ranges import check_between

__all__ = ["XrayPolicy"]


@dataclass(frozen=True, kw_only=True)
class XrayPolicy:
    """Views of radiographs: turns, flips, large crops, exposure and noise; grey stays grey."""

    turn_degrees: float = 10.0
    """Largest turn either way, degrees (MoCo-CXR: 10)."""
    crop_area_min: float = 0.5
    """Smallest crop as a fraction of the tile's area; the largest is 1 (chosen here: MoCo-CXR cuts
    none, SimCLRv2 down to a tenth)."""
    flip_p: float = 0.5
    """Probability of a horizontal flip (MoCo-CXR: 0.5)."""
    gain: float = 0.2
    """Half width of the logarithm of the gain: factors 0.82 to 1.22 (chosen here)."""
    gamma: float = 0.3
    """Half width of the logarithm of gamma: exponents 0.74 to 1.35 (chosen here)."""
    shot_noise: float = 0.03
    """Largest noise of the dose, standard deviation at white, fraction of white (chosen here)."""
    intensity_p: float = 0.8
    """Probability of gain and gamma (that of SimCLRv2's colour jitter)."""
    noise_p: float = 0.5
    """Probability of noise (chosen here)."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_between(self, 0, 180, "turn_degrees")
        check_between(self, 0, 1, "crop_area_min", "flip_p", "intensity_p", "noise_p", "shot_noise")
        check_between(self, 0, 3, "gain", "gamma")

    def contrastive(self, view_px: int) -> A.Compose:
        """Return turn, crop, flip, gain, gamma and noise."""
        return A.Compose(
            [
                *self._geometry(view_px),
                IntensityJitter(
                    gain=self.gain, gamma=self.gamma, is_shared=True, p=self.intensity_p
                ),
                SensorNoise(shot=self.shot_noise, read=0.0, is_shared=True, p=self.noise_p),
            ]
        )

    def supervised(self, view_px: int) -> A.Compose:
        """Return turn, crop and flip."""
        return A.Compose(self._geometry(view_px))

    def scaled(self, strength: float) -> Self:
        """Return the policy with smaller or larger differences."""
        return dataclasses.replace(
            self,
            turn_degrees=min(180.0, self.turn_degrees * strength),
            crop_area_min=self.crop_area_min**strength,
            flip_p=self.flip_p * min(strength, 1.0),
            gain=min(3.0, self.gain * strength),
            gamma=min(3.0, self.gamma * strength),
            shot_noise=min(1.0, self.shot_noise * strength),
        )

    def _geometry(self, view_px: int) -> list[A.BasicTransform]:
        return [
            A.Rotate(
                limit=(-self.turn_degrees, self.turn_degrees),
                border_mode=cv2.BORDER_REFLECT_101,
                p=float(self.turn_degrees > 0),
            ),
            Crop(view_px=view_px, area_min=self.crop_area_min),
            A.HorizontalFlip(p=self.flip_p),
        ]
