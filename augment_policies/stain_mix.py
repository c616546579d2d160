"""Views of H&E tissue in the stains of the store's other slides.

    contrastive   crop, one of the 8 symmetries of the square, exchange of stains
    supervised    crop, one of the 8 symmetries of the square

The stain vectors of every slide and the maxima of their concentrations are estimated once,
robustly, by Macenko et al. 2009 (see `medsimclr.augment.macenko`): `medsimclr policies fit
stain_mix --store S`. For every view another slide is drawn, and the view is shown in a mixture of
its own stains and that one's, the share drawn uniformly as in Stain Mix-Up (Chang et al. 2021,
MICCAI, "Stain Mix-up: Unsupervised Domain Generalization for Histopathology Images"). It reaches
the colours that the store has and no others; unfitted, those of 26 slides and patients stained very
differently (see `medsimclr.augment.common_slides`).

Where we differ: mixed are the whole maps of density, vectors and maxima together; nothing is added
at random; a view's slide is guessed from its colours, since a transform sees nothing else; no
channel loses more than half of its optical density.

When it hurts: with one slide, or slides stained alike, it does next to nothing: take
`stain_jitter`. A hospital whose stain lies outside those of the store is not covered. Of
the built-in statistics most are those of BreakHis: fit it where you test on BreakHis.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import albumentations as A
import numpy as np
from numpy.typing import NDArray

from medsimclr.augment.common_slides import COMMON_SLIDES
from medsimclr.augment.crop import Crop
from medsimclr.augment.macenko import SlideStain, fit_slide_stains
from medsimclr.augment.ranges import check_between
from medsimclr.augment.stain_transforms import StainExchange
from medsimclr.augment.transforms import SquareSymmetries

__all__ = ["StainMixPolicy"]


@dataclass(frozen=True, kw_only=True)
class StainMixPolicy:
    """Views of H&E tiles, restained like other slides."""

    statistics: tuple[SlideStain, ...] = COMMON_SLIDES
    """Stains of the slides, at least one."""
    share_max: float = 1.0
    """Largest share of the other slide's stains, 0 to 2; the smallest is 0 (Chang 2021: 1)."""
    exchange_p: float = 0.8
    """Probability of the exchange (that of SimCLRv2's colour jitter)."""
    crop_area_min: float = 0.1
    """Smallest crop as a fraction of the tile's area; the largest is 1 (SimCLRv2: 0.1)."""
    symmetry_p: float = 1.0
    """Probability of one of the 8 symmetries of the square (tissue has no up)."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_between(self, 0, 1, "exchange_p", "crop_area_min", "symmetry_p")
        check_between(self, 0, 2, "share_max")
        if not self.statistics:
            raise ValueError("statistics must hold the stains of at least one slide, got ()")

    @classmethod
    def fit(cls, slides: Iterable[tuple[str, NDArray[np.uint8]]]) -> dict[str, object]:
        """Return the fields to set for the slides of a store; slides without tissue are left out.

        Args:
            slides: name and tiles (N, H, W, 3) of each slide; a few dozen tiles each are enough.

        Raises:
            ValueError: no slide has tissue.
        """
        return {"statistics": [dataclasses.asdict(slide) for slide in fit_slide_stains(slides)]}

    def contrastive(self, view_px: int) -> A.Compose:
        """Return crop, symmetry and exchange of stains."""
        exchange = StainExchange(
            slides=self.statistics, share_max=self.share_max, p=self.exchange_p
        )
        return A.Compose([*self.supervised(view_px), exchange])

    def supervised(self, view_px: int) -> A.Compose:
        """Return crop and symmetry."""
        crop = Crop(view_px=view_px, area_min=self.crop_area_min)
        return A.Compose([crop, SquareSymmetries(p=self.symmetry_p)])

    def scaled(self, strength: float) -> Self:
        """Return the policy with smaller or larger differences."""
        return dataclasses.replace(
            self,
            share_max=min(2.0, self.share_max * strength),
            crop_area_min=self.crop_area_min**strength,
            symmetry_p=self.symmetry_p * min(strength, 1.0),
        )
