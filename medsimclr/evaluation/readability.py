"""How well a group, a centre or a patient, can be read from features: lower is better.

A representation that names the hospital has learned what the disease is confounded with.

Shapes: N tiles, D features.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold

from medsimclr.evaluation.linear_probe import fit_linear

__all__ = ["Readability", "readability"]

_MAX_FOLDS = 3
# Chosen here, and the same for all: a penalty chosen for each encoder would cost 30 fits.
_INVERSE_PENALTY = 0.1


class Readability(NamedTuple):
    """How well the group is named."""

    accuracy: float
    """Balanced over the groups."""
    chance: float
    """One over the number of groups."""


def readability(
    features_ND: npt.NDArray[np.floating[Any]],
    group_N: npt.NDArray[Any],
    unit_N: npt.NDArray[Any],
    *,
    seed: int,
) -> Readability | None:
    """Measure how well a linear probe names the group of tiles in units that it never saw.

    Args:
        features_ND: finite features.
        group_N: what is to be named: centre or patient of each tile.
        unit_N: what must not be on both sides: for centres the patient, for patients a part of the
            slide. A unit lies within one group.
        seed: of the folds.

    Returns:
        Balanced accuracy and chance; None where fewer than two groups have two units each.
    """
    groups = [g for g in np.unique(group_N) if len(np.unique(unit_N[group_N == g])) >= 2]
    if len(groups) < 2:
        return None
    kept = np.isin(group_N, groups)
    features_ND, unit_N = features_ND[kept], unit_N[kept]
    label_N = np.searchsorted(groups, group_N[kept])
    n_units = min(len(np.unique(unit_N[label_N == g])) for g in range(len(groups)))
    folds = StratifiedGroupKFold(min(n_units, _MAX_FOLDS), shuffle=True, random_state=seed)
    named_N = np.empty_like(label_N)
    for train, left_out in folds.split(features_ND, label_N, unit_N):
        probe = fit_linear(
            features_ND[train],
            label_N[train],
            n_classes=len(groups),
            groups_N=unit_N[train],
            seed=seed,
            inverse_penalty=_INVERSE_PENALTY,
        )
        named_N[left_out] = probe.predict_proba(features_ND[left_out]).argmax(axis=1)
    accuracy = float(balanced_accuracy_score(label_N, named_N))
    return Readability(accuracy=accuracy, chance=1 / len(groups))
