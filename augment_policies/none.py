"""Control: no augmentation. Both views are the whole tile, resized.

    contrastive   the tile
    supervised    the tile

A pair of equal views teaches nothing but to tell tiles apart: this is the floor that every policy
has to beat, and a check of a benchmark (a score as good as others' means that the benchmark is
blind to augmentation). When it hurts: as a policy for real work, always.
"""

from dataclasses import dataclass
from typing import Self

import albumentations as A

from medsimclr.augment.crop import Crop

__all__ = ["NonePolicy"]


@dataclass(frozen=True, kw_only=True)
class NonePolicy:
    """Control without augmentation: the whole tile, twice the same."""

    def contrastive(self, view_px: int) -> A.Compose:
        """Return the resize."""
        return A.Compose([Crop(view_px=view_px, area_min=1.0)])

    def supervised(self, view_px: int) -> A.Compose:
        """Return the resize."""
        return self.contrastive(view_px)

    def scaled(self, strength: float) -> Self:
        """Return the policy: there is nothing to scale."""
        return self
