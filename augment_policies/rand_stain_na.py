"""Views of H&E tissue in the colours of random laboratories: RandStainNA.

    contrastive   crop, one of the 8 symmetries of the square, random template
    supervised    crop, one of the 8 symmetries of the square

Source: Shen et al. 2022 (arXiv 2206.12694). For every view a colour space is drawn (LAB, HED or
HSV), then mean and standard deviation of each channel from normal distributions fitted over slides,
and the view is renormalised to them as Reinhard did: stain normalisation and augmentation in one.
The strengths are the statistics: `medsimclr policies fit rand_stain_na --store S` measures them on
your slides; unfitted, they are those of 26 slides and patients stained very differently (see
`medsimclr.augment.common_slides`).

Where we differ: only tissue is measured and changed, glass stays; statistics are those of slides,
not of tiles; hues are counted from green on, so that red is no jump; a factor of the standard
deviation stays between 1/2 and 2; no channel loses more than half of its optical density, so that
nothing is bleached.

When it hurts: every view gets the mean colour of a slide, whatever it shows. What is told by the
amount of stain alone (a field of lymphocytes from one of stroma) then has to be told by structure.
Statistics of a single slide have no spread: the policy then only normalises. Of the built-in
statistics most are those of BreakHis: fit it where you test on BreakHis.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import albumentations as A
import numpy as np
from numpy.typing import NDArray

from medsimclr.augment.color_space import ColorSpace
from medsimclr.augment.common_slides import COMMON_TEMPLATES
from medsimclr.augment.crop import Crop
from medsimclr.augment.ranges import check_between
from medsimclr.augment.stain_statistics import TemplateStatistics, fit_templates
from medsimclr.augment.stain_transforms import StainTemplate
from medsimclr.augment.transforms import SquareSymmetries

__all__ = ["RandStainNAPolicy"]


@dataclass(frozen=True, kw_only=True)
class RandStainNAPolicy:
    """Views of H&E tiles, renormalised to random templates."""

    statistics: TemplateStatistics = COMMON_TEMPLATES
    """Distributions over slides of each channel's mean and standard deviation."""
    spaces: tuple[ColorSpace, ...] = ("lab", "hed", "hsv")
    """Colour spaces to draw from, equally likely (source: these three)."""
    strength: float = 1.0
    """Share of the way from the view's own colours to the template, 0 to 2 (source: 1)."""
    template_p: float = 0.8
    """Probability of the renormalisation (that of SimCLRv2's colour jitter; source: 1)."""
    crop_area_min: float = 0.1
    """Smallest crop as a fraction of the tile's area; the largest is 1 (SimCLRv2: 0.1)."""
    symmetry_p: float = 1.0
    """Probability of one of the 8 symmetries of the square (tissue has no up)."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_between(self, 0, 1, "template_p", "crop_area_min", "symmetry_p")
        check_between(self, 0, 2, "strength")
        if not self.spaces:
            raise ValueError("spaces must name at least one of lab, hed and hsv, got ()")

    @classmethod
    def fit(cls, slides: Iterable[tuple[str, NDArray[np.uint8]]]) -> dict[str, object]:
        """Return the fields to set for the slides of a store.

        Args:
            slides: name and tiles (N, H, W, 3) of each slide; a few dozen tiles each are enough.

        Raises:
            ValueError: no slide has tissue.
        """
        return {"statistics": dataclasses.asdict(fit_templates(slides))}

    def contrastive(self, view_px: int) -> A.Compose:
        """Return crop, symmetry and random template."""
        template = StainTemplate(
            statistics=self.statistics,
            spaces=self.spaces,
            strength=self.strength,
            p=self.template_p,
        )
        return A.Compose([*self.supervised(view_px), template])

    def supervised(self, view_px: int) -> A.Compose:
        """Return crop and symmetry."""
        crop = Crop(view_px=view_px, area_min=self.crop_area_min)
        return A.Compose([crop, SquareSymmetries(p=self.symmetry_p)])

    def scaled(self, strength: float) -> Self:
        """Return the policy with smaller or larger differences."""
        return dataclasses.replace(
            self,
            strength=min(2.0, self.strength * strength),
            crop_area_min=self.crop_area_min**strength,
            symmetry_p=self.symmetry_p * min(strength, 1.0),
        )
