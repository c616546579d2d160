"""Views of H&E tissue from another laboratory and another scanner: where to begin.

    contrastive   crop, one of the 8 symmetries of the square, stain jitter, focus, JPEG
    supervised    crop, one of the 8 symmetries of the square

What lies between two images of the same tissue: where it lies and how large (crop, symmetries), how
it was stained (Tellez et al. 2019, arXiv 1902.06543: of the changes tried on nine tasks, those of
stain mattered most), how the scanner was focused and its software sharpened, and how the image was
compressed. Strengths are chosen here and stated with their reasons; none is measured yet.

When it hurts: focus and JPEG hide chromatin texture at 1 um/px and coarser, where a nucleus is a
few pixels: set `focus_p` and `jpeg_p` to 0. For other stains than H&E see `ihc` and `fluorescence`;
for slides stained further apart than its strengths, `rand_stain_na` and `stain_mix`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Self

import albumentations as A

from medsimclr.augment.crop import Crop
from medsimclr.augment.ranges import check_between
from medsimclr.augment.stain_transforms import Focus
from medsimclr.augment.transforms import SquareSymmetries, StainJitter

__all__ = ["HistologyPolicy"]


@dataclass(frozen=True, kw_only=True)
class HistologyPolicy:
    """Views of H&E tiles. A field at 0 switches its part off."""

    crop_area_min: float = 0.2
    """Smallest crop as a fraction of the tile's area; the largest is 1. Chosen here: nuclei are
    magnified up to 2.2 times; SimCLRv2's 0.1, 3.2 times, makes a lymphocyte a tumour cell."""
    symmetry_p: float = 1.0
    """Probability of one of the 8 symmetries of the square (tissue has no up)."""
    gain_sigma: float = 0.2
    """Half width of the factor of each concentration (Tellez 2019: 0.05 light, 0.2 strong)."""
    offset_sigma: float = 0.1
    """Largest shift of a concentration, natural-log optical density (as in `stain_jitter`)."""
    stain_p: float = 0.8
    """Probability of the stain jitter (that of SimCLRv2's colour jitter)."""
    blur_sigma_px: float = 1.0
    """Largest standard deviation of the blur, pixels of the view (chosen here: 0.5 um at 20x, about
    what a scanner's depth of field forgives)."""
    sharpen: float = 0.5
    """Largest amount of the unsharp mask of 1 px (chosen here: halos stay below those of the
    sharpening that scanners apply)."""
    focus_p: float = 0.3
    """Probability of blur or sharpening, half each (chosen here: focus varies less than stain)."""
    jpeg_quality_min: int = 50
    """Lowest JPEG quality, 1 to 95; the highest is 95 (chosen here: scanners write 70 to 90, and
    tiles are often compressed twice)."""
    jpeg_p: float = 0.2
    """Probability of the compression (chosen here: it is the dearest part)."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_between(self, 0, 1, "crop_area_min", "symmetry_p", "gain_sigma", "offset_sigma")
        check_between(self, 0, 1, "stain_p", "focus_p", "jpeg_p")
        check_between(self, 0, 100, "blur_sigma_px")
        check_between(self, 0, 5, "sharpen")
        check_between(self, 1, 95, "jpeg_quality_min")

    def contrastive(self, view_px: int) -> A.Compose:
        """Return crop, symmetry, stain jitter, focus and JPEG."""
        return A.Compose(
            [
                *self.supervised(view_px),
                StainJitter(
                    gain_sigma=self.gain_sigma, offset_sigma=self.offset_sigma, p=self.stain_p
                ),
                Focus(blur_sigma_px=self.blur_sigma_px, sharpen=self.sharpen, p=self.focus_p),
                A.ImageCompression(quality_range=(self.jpeg_quality_min, 95), p=self.jpeg_p),
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
            blur_sigma_px=min(100.0, self.blur_sigma_px * strength),
            sharpen=min(5.0, self.sharpen * strength),
            jpeg_p=min(1.0, self.jpeg_p * strength),
        )
