"""Views of immunohistochemistry: haematoxylin and DAB.

    contrastive   crop, one of the 8 symmetries of the square, stain jitter, light blur
    supervised    crop, one of the 8 symmetries of the square

Brown is the answer: where it is and how much of it there is. So haematoxylin, the counterstain,
varies as in H&E (Tellez et al. 2019, arXiv 1902.06543), and DAB half as much and never by an
offset, which would make a negative cell positive. Stain vectors: Ruifrok & Johnston 2001 (Anal
Quant Cytol Histol 23:291), haematoxylin and DAB; the third, for what is neither, is made as in
their plug-in, so that the squares of each channel sum to 1.

When it hurts: where the score is the depth of the brown (HER2 1+ against 2+), set `dab_gain_sigma`
to 0.05 or 0. Red chromogens (AEC, Fast Red) need vectors of their own.
"""

import dataclasses
from dataclasses import dataclass
from typing import Self

import albumentations as A
import numpy as np
from numpy.typing import NDArray

from medsimclr.augment.crop import Crop
from medsimclr.augment.ranges import check_between
from medsimclr.augment.stain_transforms import Focus, StainSetJitter
from medsimclr.augment.transforms import SquareSymmetries

__all__ = ["HDAB_TO_OD", "IHCPolicy"]

_HDAB = np.array([[0.650, 0.704, 0.286], [0.268, 0.570, 0.776]])

HDAB_TO_OD: NDArray[np.float64] = np.vstack([_HDAB, np.sqrt(1.0 - (_HDAB**2).sum(axis=0))])
"""Optical density of R, G, B (columns) for one unit of haematoxylin, DAB and residual (rows)."""


@dataclass(frozen=True, kw_only=True)
class IHCPolicy:
    """Views of haematoxylin-DAB tiles. A field at 0 switches its part off."""

    crop_area_min: float = 0.2
    """Smallest crop as a fraction of the tile's area; the largest is 1 (as in `histology`)."""
    symmetry_p: float = 1.0
    """Probability of one of the 8 symmetries of the square (tissue has no up)."""
    gain_sigma: float = 0.2
    """Half width of the factor of haematoxylin and residual (Tellez 2019: 0.2 strong)."""
    dab_gain_sigma: float = 0.1
    """Half width of the factor of DAB (chosen here: half)."""
    offset_sigma: float = 0.05
    """Largest shift of haematoxylin, natural-log optical density (chosen here: half of that of
    H&E, as the counterstain is pale)."""
    stain_p: float = 0.8
    """Probability of the stain jitter (that of SimCLRv2's colour jitter)."""
    blur_sigma_px: float = 1.0
    """Largest standard deviation of the blur, pixels of the view (as in `histology`)."""
    focus_p: float = 0.3
    """Probability of blur (as in `histology`)."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_between(self, 0, 1, "crop_area_min", "symmetry_p", "gain_sigma", "dab_gain_sigma")
        check_between(self, 0, 1, "offset_sigma", "stain_p", "focus_p")
        check_between(self, 0, 100, "blur_sigma_px")

    def contrastive(self, view_px: int) -> A.Compose:
        """Return crop, symmetry, stain jitter and blur."""
        return A.Compose(
            [
                *self.supervised(view_px),
                StainSetJitter(
                    stains_to_od=HDAB_TO_OD,
                    gain_sigma=(self.gain_sigma, self.dab_gain_sigma, self.gain_sigma),
                    offset_sigma=(self.offset_sigma, 0.0, 0.0),
                    p=self.stain_p,
                ),
                Focus(blur_sigma_px=self.blur_sigma_px, sharpen=0.0, p=self.focus_p),
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
            dab_gain_sigma=min(1.0, self.dab_gain_sigma * strength),
            offset_sigma=min(1.0, self.offset_sigma * strength),
            blur_sigma_px=min(100.0, self.blur_sigma_px * strength),
        )
