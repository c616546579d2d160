"""How many tiles of other centres a policy's views reach by their stain.

The tiles of one centre are taken as the training; the region (`stain_region`) that holds 95 % of
their views in the plane of haematoxylin and eosin is what the network learns to call the same. A
tile of another centre is covered if it lies there. The same without the policy, the region of the
tiles themselves, says what the tissue alone covers. All is averaged over the centres, each being
the training once and each tile of another centre counting alike.

A view without tissue has no stain: it widens no region, and counts as a stain that no group has.

Shapes: N = tiles of a group or their views, VV = sides of a view; 3 = haematoxylin, eosin,
residual.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsimclr.augment.geometric import without_geometry
from medsimclr.augment.policy import AugmentationPolicy, apply_seeded
from medsimclr.augment.stain_amount import mean_amounts
from medsimclr.data.stain_groups import StainGroup
from medsimclr.data.stain_region import StainRegion, stain_region

__all__ = ["StainReach", "draw_reach", "lost_note", "mean_coverage", "mean_outside"]


@dataclass(frozen=True)
class StainReach:
    """One group's tiles and their views beside the tiles of all other groups."""

    group: StainGroup
    views_NVV3: NDArray[np.uint8]
    """Views with tissue, in their own colours and the tile's geometry."""
    view_amount_N3: NDArray[np.float64]
    view_tile_N: NDArray[np.int64]
    """Of which of the group's tiles each of these views is."""
    n_lost: int
    """Further views, those without tissue."""
    other_amount_N3: NDArray[np.float64]

    @property
    def region_before(self) -> StainRegion:
        """Where 95 % of this group's tiles lie."""
        return stain_region(self.group.amount_N3[:, :2])

    @property
    def region_after(self) -> StainRegion | None:
        """Where 95 % of this group's views lie; None if none has tissue."""
        if len(self.view_amount_N3) == 0:
            return None
        return stain_region(self.view_amount_N3[:, :2], tile_N=self.view_tile_N)

    @property
    def covered_before(self) -> float:
        """Share of the other groups' tiles where 95 % of this group's lie."""
        return float(self.region_before.holds(self.other_amount_N3[:, :2]).mean())

    @property
    def covered_after(self) -> float:
        """Share of the other groups' tiles where 95 % of this group's views lie."""
        return float(self.is_covered_N.mean())

    @property
    def is_covered_N(self) -> NDArray[np.bool_]:
        """Which of the other groups' tiles lie where 95 % of this group's views do."""
        region = self.region_after
        if region is None:
            return np.zeros(len(self.other_amount_N3), dtype=bool)
        return region.holds(self.other_amount_N3[:, :2])


def draw_reach(
    groups: Sequence[StainGroup],
    policy: AugmentationPolicy,
    *,
    n_views: int,
    seed: int,
) -> list[StainReach]:
    """Draw views of every group's tiles, colours alone, and set them beside the other groups.

    Args:
        groups: two or more.
        policy: whose contrastive views are drawn; crops and turns are left out, which change what
            tissue is in a view and not how it is stained.
        n_views: views of each tile.
        seed: views are drawn from (seed, group, tile, view).
    """
    view_px = groups[0].tiles_NVV3.shape[1]
    compose = without_geometry(policy.contrastive(view_px))
    reaches = []
    for number, group in enumerate(groups):
        views_NVV3 = np.stack(
            [
                apply_seeded(compose, tile_VV3, seed=(seed, number, tile, view))
                for tile, tile_VV3 in enumerate(group.tiles_NVV3)
                for view in range(n_views)
            ]
        )
        amount_N3 = mean_amounts(views_NVV3)
        has_tissue_N = np.isfinite(amount_N3).all(axis=1)
        reaches.append(
            StainReach(
                group=group,
                views_NVV3=views_NVV3[has_tissue_N],
                view_amount_N3=amount_N3[has_tissue_N],
                view_tile_N=np.arange(len(amount_N3))[has_tissue_N] // n_views,
                n_lost=int((~has_tissue_N).sum()),
                other_amount_N3=np.concatenate(
                    [other.amount_N3 for other in groups if other is not group]
                ),
            )
        )
    return reaches


def mean_coverage(reaches: Sequence[StainReach]) -> tuple[float, float]:
    """Return the mean share covered without and with the policy, each group counted once."""
    before = np.mean([reach.covered_before for reach in reaches])
    after = np.mean([reach.covered_after for reach in reaches])
    return float(before), float(after)


def mean_outside(reaches: Sequence[StainReach]) -> float:
    """Return the mean share of views whose stain is none of any group's: beyond 95 % of all tiles.

    Without a policy it is about 5 %. Views without tissue are among them.
    """
    every_N3 = np.concatenate([reach.group.amount_N3 for reach in reaches])
    region = stain_region(every_N3[:, :2])
    within, n_before = [], 0
    for reach in reaches:
        is_within_N = region.holds(reach.view_amount_N3[:, :2], tile_M=n_before + reach.view_tile_N)
        within.append(is_within_N.sum() / (len(is_within_N) + reach.n_lost))
        n_before += len(reach.group.amount_N3)
    return float(1.0 - np.mean(within))


def lost_note(reaches: Sequence[StainReach]) -> str | None:
    """Say how many views have no tissue; None where all have."""
    n_lost = sum(reach.n_lost for reach in reaches)
    if n_lost == 0:
        return None
    n_views = n_lost + sum(len(reach.view_amount_N3) for reach in reaches)
    return f"{n_lost} of {n_views} views have no tissue and count as a stain that no one has."
