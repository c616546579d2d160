"""How far apart several ways of staining lie, and the strengths of jitter that span them.

    typical    quantiles of each amount of stain, averaged over the groups
    gap        amount of a group = gain * (typical amount + offset), fitted to the quantiles
    strength   |gain - 1| and |offset| of equal rank, the least that 9 in 10 groups are both within

Groups hold different tissue, so that a gap is one of stain only as far as tissue is alike: many
tiles of a group bring that about, one field of a patient does not.

Shapes: G = groups, Q3 = quantiles, haematoxylin, eosin, residual; GS3 = stain vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsimclr.augment.macenko import PUBLISHED_HE, SlideStain

__all__ = ["StainGap", "gap_strengths", "n_spanned", "stain_gaps", "vector_angles"]

_GAIN_RANGE = (0.5, 2.0)
_ONE_BEYOND_IN = 10
_Three = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class StainGap:
    """What turns typical staining into that of one group: haematoxylin, eosin, residual."""

    gain: _Three
    """Factor of each amount, 0.5 to 2; of the residual 1."""
    offset: _Three
    """Added to each amount before the factor, natural-log optical density."""


def stain_gaps(quantiles_GQ3: Sequence[NDArray[np.float64]]) -> list[StainGap]:
    """Return the gap from typical staining to that of each group.

    The gain is the least-squares slope of the group's quantiles over the typical ones; the offset
    brings the mean to its place. The residual, where a cast of colour shows, has hardly any spread
    of its own and is only shifted.

    Args:
        quantiles_GQ3: of each group, as `stain_quantiles` returns them.
    """
    typical_Q3 = np.mean(quantiles_GQ3, axis=0)
    typical_3 = typical_Q3.mean(axis=0)
    spread_Q3 = typical_Q3 - typical_3
    gaps = []
    for group_Q3 in quantiles_GQ3:
        group_3 = group_Q3.mean(axis=0)
        covariance_3 = (spread_Q3 * (group_Q3 - group_3)).sum(axis=0)
        # Tissue of one colour has no spread to measure a factor by.
        gain_3 = np.clip(covariance_3 / np.maximum((spread_Q3**2).sum(axis=0), 1e-9), *_GAIN_RANGE)
        gain_3[2] = 1.0
        offset_3 = group_3 / gain_3 - typical_3
        gaps.append(StainGap(gain=_three(gain_3), offset=_three(offset_3)))
    return gaps


def gap_strengths(gaps: Sequence[StainGap]) -> tuple[float, float]:
    """Return half widths of gain and offset that lead from typical staining to 9 in 10 groups.

    Args:
        gaps: at least one.
    """
    n_within = n_spanned(len(gaps))
    gain_G = np.array([max(abs(gain - 1.0) for gain in gap.gain) for gap in gaps])
    offset_G = np.array([max(abs(offset) for offset in gap.offset) for gap in gaps])
    ranked = zip(np.sort(gain_G).tolist(), np.sort(offset_G).tolist(), strict=True)
    return next(
        (gain, offset)
        for gain, offset in ranked
        if ((gain_G <= gain) & (offset_G <= offset)).sum() >= n_within
    )


def n_spanned(n_groups: int) -> int:
    """Return how many of some groups strengths must span: 9 in 10, all of 10 or fewer."""
    return n_groups - (n_groups - 1) // _ONE_BEYOND_IN


def vector_angles(stains: Sequence[SlideStain | None]) -> list[tuple[float, float] | None]:
    """Return how far each group's vectors of haematoxylin and eosin are from the mean, degrees.

    Args:
        stains: of each group, by Macenko's method. There is no angle for a group without an
            estimate of its own, for which the published vectors stand in.
    """
    vectors = [_own_vectors(stain) for stain in stains]
    found_GS3 = np.array([vectors_S3 for vectors_S3 in vectors if vectors_S3 is not None])
    if len(found_GS3) < 2:
        return [None] * len(stains)
    mean_S3 = found_GS3.mean(axis=0)
    mean_S3 /= np.linalg.norm(mean_S3, axis=1, keepdims=True)
    angles: list[tuple[float, float] | None] = []
    for vectors_S3 in vectors:
        if vectors_S3 is None:
            angles.append(None)
            continue
        cosine_S = np.clip((vectors_S3 * mean_S3).sum(axis=1), -1.0, 1.0)
        haematoxylin, eosin = np.degrees(np.arccos(cosine_S)).tolist()
        angles.append((haematoxylin, eosin))
    return angles


def _own_vectors(stain: SlideStain | None) -> NDArray[np.float64] | None:
    if stain is None:
        return None
    vectors_S3 = np.array([stain.haematoxylin, stain.eosin])
    return None if np.array_equal(vectors_S3, PUBLISHED_HE) else vectors_S3


def _three(vector_3: NDArray[np.float64]) -> _Three:
    first, second, third = vector_3.tolist()
    return first, second, third
