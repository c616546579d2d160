"""Views of H&E tissue: what differs between two laboratories and nothing else.

    contrastive   crop, one of the 8 symmetries of the square, stain jitter, light blur
    supervised    crop, one of the 8 symmetries of the square

Tissue has no up, so flips and quarter turns are free. Colour varies as stains do: haematoxylin,
eosin and residual are scaled and shifted in optical density (Tellez et al. 2018, IEEE TMI 37:2126;
2019, arXiv 1902.06543). Hue jitter and grey are left out: they make colours that no stain has and
remove the difference between nucleus and cytoplasm.

When it hurts: it varies stain around each tile's own, so that slides stained further apart than its
strengths can still be told by their colour; see `rand_stain_na` and `stain_mix`. The vectors are
those of H&E: for DAB take `ihc`; for other stains, and where the depth of the stain is the label
(hyperchromatic nuclei at one laboratory), make it weaker.
"""

import dataclasses
from dataclasses import dataclass
from typing import Self

import albumentations as A

from medsimclr.augment.crop import Crop
from medsimclr.augment.ranges import check_between, check_rising
from medsimclr.augment.transforms import Blur, SquareSymmetries, StainJitter

__all__ = ["StainJitterPolicy"]


@dataclass(frozen=True, kw_only=True)
class StainJitterPolicy:
    """Views of H&E tiles. A field at 0 switches its part off."""

    crop_area_min: float = 0.1
    """Smallest crop as a fraction of the tile's area; the largest is 1 (SimCLRv2: 0.1)."""
    symmetry_p: float = 1.0
    """Probability of one of the 8 symmetries of the square (tissue has no up)."""
    gain_sigma: float = 0.2
    """Half width of the factor of each concentration (Tellez 2019: 0.05 light, 0.2 strong)."""
    offset_sigma: float = 0.1
    """Largest shift of a concentration, natural-log optical density (chosen here: Tellez's figures
    of 0.05 and 0.2 are in another unit, about four times as strong)."""
    stain_p: float = 0.8
    """Probability of the stain jitter (that of SimCLRv2's colour jitter)."""
    blur_p: float = 0.3
    """Probability of the blur (chosen here: focus varies less than stain)."""
    blur_sigma_px: tuple[float, float] = (0.1, 1.0)
    """Range of the Gaussian's standard deviation, pixels of the view (chosen here: half of
    SimCLRv2's, so that chromatin stays)."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0.0 < self.crop_area_min <= 1.0:
            raise ValueError(
                f"crop_area_min must be above 0 and at most 1, got {self.crop_area_min!r}"
            )
        check_between(self, 0, 1, "symmetry_p", "gain_sigma", "offset_sigma", "stain_p", "blur_p")
        check_rising(self, "blur_sigma_px")

    def contrastive(self, view_px: int) -> A.Compose:
        """Return crop, symmetry, stain jitter and light blur."""
        return A.Compose(
            [
                *self.supervised(view_px),
                StainJitter(
                    gain_sigma=self.gain_sigma, offset_sigma=self.offset_sigma, p=self.stain_p
                ),
                # The kernel of a sigma is never wider than this: no other limit is wanted.
                Blur(sigma_px=self.blur_sigma_px, radius_px=view_px, p=self.blur_p),
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
            gain_sigma=min(1.0, self.gain_sigma * strength),
            offset_sigma=min(1.0, self.offset_sigma * strength),
            blur_p=min(1.0, self.blur_p * strength),
        )
