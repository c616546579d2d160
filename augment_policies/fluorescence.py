"""Views of fluorescence images: dyes on black, each channel with a detector of its own.

    contrastive   crop, one of the 8 symmetries of the square, gain and offset by channel, noise
    supervised    crop, one of the 8 symmetries of the square

Between two sessions exposure, lamp, dye concentration and bleaching change the gain of a channel,
the black level and autofluorescence its offset, and exposure its photon noise: each channel by
itself, since each has its own exposure. Black background stays black.

Strengths: StarDist's training notebooks multiply by 0.6 to 2, add -0.2 to 0.2 of the normalised
range and noise of up to 0.02 (Schmidt et al. 2018, arXiv 1806.03535; github.com/stardist/stardist,
example notebook 2D training). Here the gain is symmetric in its logarithm, since a factor of 2
burns out tiles that are not normalised, and the offset a quarter of theirs, for the same reason.

When it hurts: where the intensity itself is the finding (HER2 amplification, expression levels,
ratios of two channels): lower `gain`, or set it to 0. Tiles exposed close to white burn
out: on a DAPI slide with nuclei near 250, 10 % of their pixels in addition to 3 % of the tile's.
"""

import dataclasses
from dataclasses import dataclass
from typing import Self

import albumentations as A

from medsimclr.augment.crop import Crop
from medsimclr.augment.intensity import IntensityJitter, SensorNoise
from medsimclr.augment.ranges import check_between
from medsimclr.augment.transforms import SquareSymmetries

__all__ = ["FluorescencePolicy"]


@dataclass(frozen=True, kw_only=True)
class FluorescencePolicy:
    """Views of fluorescence tiles, whose channels have gains, offsets and noise of their own."""

    crop_area_min: float = 0.1
    """Smallest crop as a fraction of the tile's area; the largest is 1 (SimCLRv2, see `Crop`)."""
    symmetry_p: float = 1.0
    """Probability of one of the 8 symmetries (cells have no up)."""
    gain: float = 0.5
    """Half width of the logarithm of a channel's gain: factors 0.61 to 1.65 (StarDist 0.6 to 2)."""
    offset: float = 0.05
    """Largest offset of a channel, fraction of white (a quarter of StarDist's)."""
    shot_noise: float = 0.05
    """Largest photon noise, standard deviation at white, fraction of white: 400 photons (chosen
    here)."""
    read_noise: float = 0.02
    """Largest read noise, standard deviation, fraction of white (StarDist)."""
    intensity_p: float = 0.8
    """Probability of gain and offset (that of SimCLRv2's colour jitter)."""
    noise_p: float = 0.5
    """Probability of noise (chosen here)."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_between(self, 0, 1, "crop_area_min", "symmetry_p", "intensity_p", "noise_p")
        check_between(self, 0, 1, "offset", "shot_noise", "read_noise")
        check_between(self, 0, 3, "gain")

    def contrastive(self, view_px: int) -> A.Compose:
        """Return crop, symmetry, gain, offset and noise."""
        return A.Compose(
            [
                *self.supervised(view_px),
                IntensityJitter(gain=self.gain, offset=self.offset, p=self.intensity_p),
                SensorNoise(shot=self.shot_noise, read=self.read_noise, p=self.noise_p),
            ]
        )

    def supervised(self, view_px: int) -> A.Compose:
        """Return crop and symmetry."""
        crop = Crop(view_px=view_px, area_min=self.crop_area_min)
        return A.Compose([crop, SquareSymmetries(p=self.symmetry_p)])

    def scaled(self, strength: float) -> Self:
        """Return the policy with smaller or larger differences."""
        return dataclasses.replace(
            self,
            crop_area_min=self.crop_area_min**strength,
            symmetry_p=self.symmetry_p * min(strength, 1.0),
            gain=min(3.0, self.gain * strength),
            offset=min(1.0, self.offset * strength),
            shot_noise=min(1.0, self.shot_noise * strength),
            read_noise=min(1.0, self.read_noise * strength),
        )
