"""How well frozen features tell classes apart on tiles of other patients.

Shapes: N tiles, D features.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medsimclr.evaluation.knn import knn_probabilities
from medsimclr.evaluation.linear_probe import LinearProbe, fit_linear
from medsimclr.evaluation.metrics import IntArray, classification_metrics

__all__ = ["Features", "ProbeFigures", "knn_figure", "probe_figures", "probe_of"]

# Chosen here: InstDisc's 200 are for a bank of tens of thousands.
_NEIGHBOURS = 20


class Features(NamedTuple):
    """Labelled tiles as an encoder sees them."""

    features_ND: npt.NDArray[np.floating[Any]]
    label_N: IntArray
    unit_N: npt.NDArray[Any]
    """What is drawn independently, usually the patient."""


class ProbeFigures(NamedTuple):
    """A linear probe on tiles that it was not fitted to."""

    balanced_accuracy: float
    auroc: float | None
    """None where a class has no tile."""


def knn_figure(bank: Features, test: Features, *, n_classes: int) -> float:
    """Compute the balanced accuracy of the nearest neighbours in a bank of labelled tiles."""
    probabilities_NC = knn_probabilities(
        test.features_ND,
        bank.features_ND,
        bank.label_N,
        n_classes=n_classes,
        k=min(_NEIGHBOURS, len(bank.label_N)),
    )
    return classification_metrics(
        test.label_N, probabilities_NC, n_classes=n_classes
    ).balanced_accuracy


def probe_of(train: Features, *, n_classes: int, seed: int) -> LinearProbe:
    """Fit a linear probe whose penalty is chosen on left-out units."""
    _, group_N = np.unique(train.unit_N, return_inverse=True)
    return fit_linear(
        train.features_ND, train.label_N, n_classes=n_classes, groups_N=group_N, seed=seed
    )


def probe_figures(probe: LinearProbe, test: Features, *, n_classes: int) -> ProbeFigures:
    """Measure a probe on labelled tiles."""
    metrics = classification_metrics(
        test.label_N, probe.predict_proba(test.features_ND), n_classes=n_classes
    )
    return ProbeFigures(metrics.balanced_accuracy, metrics.auroc)
