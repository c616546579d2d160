"""Control: crops and the eight symmetries of the square, no change of colour.

    contrastive   crop, one of the 8 symmetries of the square
    supervised    the same

What a colour policy adds is its score minus this one's. When it hurts: always, where colour tells
patients or laboratories apart; the two views of a tile then agree by colour alone, and the network
need not learn anything else (SimCLR, arXiv 2002.05709, section 3.1: histograms).
"""

import dataclasses
from dataclasses import dataclass
from typing import Self

import albumentations as A

from medsimclr.augment.crop import Crop
from medsimclr.augment.ranges import check_between
from medsimclr.augment.transforms import SquareSymmetries

__all__ = ["GeometryPolicy"]


@dataclass(frozen=True, kw_only=True)
class GeometryPolicy:
    """Control without any change of colour: crop and the symmetries of the square."""

    crop_area_min: float = 0.1
    """Smallest crop as a fraction of the tile's area; the largest is 1 (SimCLRv2, see `Crop`)."""
    symmetry_p: float = 1.0
    """Probability of one of the 8 symmetries (tissue has no up)."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_between(self, 0, 1, "crop_area_min", "symmetry_p")

    def contrastive(self, view_px: int) -> A.Compose:
        """Return crop and symmetry."""
        crop = Crop(view_px=view_px, area_min=self.crop_area_min)
        return A.Compose([crop, SquareSymmetries(p=self.symmetry_p)])

    def supervised(self, view_px: int) -> A.Compose:
        """Return crop and symmetry."""
        return self.contrastive(view_px)

    def scaled(self, strength: float) -> Self:
        """Return the policy with smaller or larger differences."""
        return dataclasses.replace(
            self,
            crop_area_min=self.crop_area_min**strength,
            symmetry_p=self.symmetry_p * min(strength, 1.0),
        )
