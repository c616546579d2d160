"""`medsimclr policies suggest`: how far apart the stains of a store lie, and strengths to match.

Measured gaps (see `stain_distance`) become strengths of stain jitter, never weaker than its own:
hospitals to come may stain unlike all that are in the store. Whether they do it is measured on
views (see `stain_reach`), beside the exchange of stains fitted to the same slides.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.macenko import slide_stain
from medsimclr.augment.policy import AugmentationPolicy
from medsimclr.augment.stain import KEPT_OD
from medsimclr.augment.stain_amount import stain_quantiles
from medsimclr.augment.stain_distance import StainGap, gap_strengths, stain_gaps, vector_angles
from medsimclr.config.policies import PolicySuggestConfig
from medsimclr.data.policy_fit import training_slides
from medsimclr.data.stain_groups import StainGroups, stain_groups
from medsimclr.data.stain_reach import draw_reach, mean_coverage, mean_outside
from medsimclr.data.tile_index import patients_of
from medsimclr.store.reader import TileStore

__all__ = ["GroupStain", "PolicySuggestion", "Reach", "suggest_policy"]

_JITTER, _EXCHANGE = "stain_jitter", "stain_mix"
_STEP = 0.05
# A factor takes no more than this of a stain: it is held back where it takes more of the density.
_GAIN_MAX = 1.0 - KEPT_OD
# Chosen here: about the mean amount of either stain in H&E.
_OFFSET_MAX = 0.3


@dataclass(frozen=True)
class GroupStain:
    """The staining of one centre, patient or slide."""

    name: str
    n_slides: int
    n_tiles: int
    gap: StainGap
    """What turns typical staining into this one."""
    angles_degrees: tuple[float, float] | None
    """From the mean vector of haematoxylin and of eosin; None without an estimate of its own."""


@dataclass(frozen=True)
class Reach:
    """How far views lead, as a mean over the groups."""

    what: str
    covered: float
    """Share of the other groups' tiles where 95 % of a group's views lie."""
    outside: float
    """Share of the views whose stain no group has."""


@dataclass(frozen=True)
class PolicySuggestion:
    """Strengths for a store, and why."""

    groups: StainGroups
    stains: tuple[GroupStain, ...]
    needed: tuple[float, float]
    """Half width of the gain, and of the offset in optical density, that span 9 in 10 groups."""
    default: tuple[float, float]
    """`gain_sigma` and `offset_sigma` of stain_jitter as it is."""
    suggested: tuple[float, float]
    """`gain_sigma` and `offset_sigma` to set."""
    reaches: tuple[Reach, ...]
    """The tiles themselves, then policies."""
    patients: tuple[str, ...]
    """Whose slides were looked at."""

    def record(self) -> dict[str, Any]:
        """Return everything but the tiles, ready for JSON."""
        return {
            "kind": self.groups.kind,
            "left_out": {
                "n_smaller": self.groups.n_smaller,
                "without_tissue": list(self.groups.without_tissue),
                "without_group": list(self.groups.without_group),
            },
            "groups": [
                {
                    "name": stain.name,
                    "n_slides": stain.n_slides,
                    "n_tiles": stain.n_tiles,
                    **dict(zip(_GAINS, stain.gap.gain[:2], strict=True)),
                    **dict(zip(_OFFSETS, stain.gap.offset, strict=True)),
                    **dict(zip(_ANGLES, stain.angles_degrees or (None, None), strict=True)),
                }
                for stain in self.stains
            ],
            "needed": _strengths(self.needed),
            "default": _strengths(self.default),
            "suggested": _strengths(self.suggested),
            "reach": {
                reach.what: {"covered": reach.covered, "outside": reach.outside}
                for reach in self.reaches
            },
        }


_GAINS = ("haematoxylin_gain", "eosin_gain")
_OFFSETS = ("haematoxylin_offset", "eosin_offset", "residual_offset")
_ANGLES = ("haematoxylin_degrees", "eosin_degrees")


def suggest_policy(config: PolicySuggestConfig) -> PolicySuggestion:
    """Measure the stains of a store's training patients and choose strengths.

    Raises:
        NoInputError: the store has no two groups of stained tissue.
        SplitError: the split does not fit the store.
        PolicyError: our policies are not installed.
    """
    store = TileStore(config.store)
    slide_indices = training_slides(store, config.split)
    groups = stain_groups(
        store,
        slide_indices=slide_indices,
        view_px=config.view_px,
        n_tiles=config.tiles,
        seed=config.seed,
    )
    stains = _stains(groups)
    needed = gap_strengths([stain.gap for stain in stains])
    policy: Any = load_policy(_JITTER)
    default = (policy.gain_sigma, policy.offset_sigma)
    suggested = (
        max(default[0], _rounded_up(min(needed[0], _GAIN_MAX))),
        max(default[1], _rounded_up(min(needed[1], _OFFSET_MAX))),
    )
    policies: dict[str, AugmentationPolicy] = {f"{_JITTER} as it is": policy}
    if suggested != default:
        policies[f"{_JITTER} as suggested"] = load_policy(
            _JITTER, options={"gain_sigma": suggested[0], "offset_sigma": suggested[1]}
        )
    policies[f"{_EXCHANGE} fitted to these slides"] = load_policy(
        _EXCHANGE, options=_fitted(groups)
    )
    return PolicySuggestion(
        groups=groups,
        stains=stains,
        needed=needed,
        default=default,
        suggested=suggested,
        reaches=_reaches(groups, policies, config),
        patients=tuple(sorted({patients_of(store)[index] for index in slide_indices})),
    )


def _stains(groups: StainGroups) -> tuple[GroupStain, ...]:
    gaps = stain_gaps([stain_quantiles(group.pixels_P3) for group in groups.groups])
    angles = vector_angles([slide_stain(group.pixels_P3) for group in groups.groups])
    return tuple(
        GroupStain(group.name, group.n_slides, len(group.tiles_NVV3), gap, angles_degrees)
        for group, gap, angles_degrees in zip(groups.groups, gaps, angles, strict=True)
    )


def _fitted(groups: StainGroups) -> dict[str, Any]:
    def slides() -> Iterator[tuple[str, NDArray[np.uint8]]]:
        for group in groups.groups:
            yield group.name, group.pixels_P3[None, None]

    policy_class: Any = type(load_policy(_EXCHANGE))
    fitted: dict[str, Any] = policy_class.fit(slides())
    return fitted


def _reaches(
    groups: StainGroups, policies: dict[str, AugmentationPolicy], config: PolicySuggestConfig
) -> tuple[Reach, ...]:
    found: list[Reach] = []
    named = {"the tiles as they are": load_policy("none"), **policies}
    for what, policy in named.items():
        drawn = draw_reach(groups.groups, policy, n_views=config.views, seed=config.seed)
        found.append(Reach(what, mean_coverage(drawn)[1], mean_outside(drawn)))
    return tuple(found)


def _strengths(pair: tuple[float, float]) -> dict[str, float]:
    return {"gain_sigma": pair[0], "offset_sigma": pair[1]}


def _rounded_up(value: float) -> float:
    # 0.15 / 0.05 is a little above 3 in binary.
    return round(math.ceil(value / _STEP - 1e-6) * _STEP, 2)
