"""Linear probe: multinomial logistic regression on frozen features.

Features are standardised by the mean and deviation of the training tiles. The strength of the L2
penalty is chosen by cross-validation whose folds keep patients together: with a patient on both
sides, a weak penalty would win by recognising patients. scikit-learn's lbfgs takes the place of
the reference's 90 epochs of momentum SGD: the problem is convex, and this way needs no learning
rate.

Shapes: N tiles, D features, C classes.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from medsimclr.errors import LabelError, MedSimCLRError
from medsimclr.evaluation.metrics import FloatArray, IntArray

__all__ = ["LinearProbe", "fit_linear"]

Features = npt.NDArray[np.floating[Any]]

# Inverse strengths of the penalty, as scikit-learn's C (on the sum of losses). Chosen here: for
# standardised features the best lies within, from a few hundred labels to tens of thousands.
_PENALTY_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
_DEFAULT_PENALTY = 0.1
_MIN_GROUPS = 3
_MAX_FOLDS = 5
_MAX_ITERATIONS = 500
_SMALLEST_PROBABILITY = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearProbe:
    """A fitted probe: softmax(standardised features @ weight + bias)."""

    mean_D: FloatArray
    scale_D: FloatArray
    weight_DC: FloatArray
    bias_C: FloatArray
    """Minus infinity for a class without training tiles: its probability is 0."""
    inverse_penalty: float
    """scikit-learn's C."""
    chosen_by: str
    """How inverse_penalty was chosen, as a sentence for the result."""
    converged: bool
    """Whether lbfgs stopped by its tolerance, before its iterations ran out."""

    def predict_proba(self, features_ND: Features) -> FloatArray:
        """Compute class probabilities; float64 (N, C)."""
        standardised_ND = (features_ND - self.mean_D) / self.scale_D
        logits_NC = standardised_ND @ self.weight_DC + self.bias_C
        odds_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
        probabilities_NC: FloatArray = odds_NC / odds_NC.sum(axis=1, keepdims=True)
        return probabilities_NC


def fit_linear(
    features_ND: Features,
    labels_N: npt.ArrayLike,
    *,
    n_classes: int,
    groups_N: npt.ArrayLike,
    seed: int,
    inverse_penalty: float | None = None,
) -> LinearProbe:
    """Fit a probe; tiles count equally, classes are not reweighted.

    With at least three patients for every class that occurs, the penalty with the lowest log loss
    on left-out patients is taken (up to five folds; ties go to the stronger penalty). With fewer
    it is scikit-learn's C = 0.1, chosen here.

    Args:
        features_ND: features of the labelled tiles.
        labels_N: their classes, 0 to n_classes - 1.
        n_classes: number of classes C; a class without tiles gets probability 0.
        groups_N: patient of each tile, as integers.
        seed: of the assignment of patients to folds.
        inverse_penalty: scikit-learn's C, where it is not to be chosen.

    Raises:
        LabelError: fewer than two classes occur, or a label is no class.
        MedSimCLRError: a feature is not a finite number.
    """
    labels = np.asarray(labels_N, dtype=np.int64)
    groups = np.asarray(groups_N)
    assert features_ND.shape[:1] == labels.shape == groups.shape, (features_ND.shape, labels.shape)
    _check(features_ND, labels, n_classes)
    n_groups = min(len(np.unique(groups[labels == c])) for c in np.unique(labels))
    if inverse_penalty is not None or n_groups < _MIN_GROUPS:
        few = f"default: some class has fewer than {_MIN_GROUPS} patients"
        return _fit(
            features_ND,
            labels,
            n_classes=n_classes,
            inverse_penalty=_DEFAULT_PENALTY if inverse_penalty is None else inverse_penalty,
            chosen_by=few if inverse_penalty is None else "given",
        )
    folds = StratifiedGroupKFold(min(n_groups, _MAX_FOLDS), shuffle=True, random_state=seed)
    splits = list(folds.split(features_ND, labels, groups))
    losses = [_left_out_loss(features_ND, labels, n_classes, splits, C) for C in _PENALTY_GRID]
    return _fit(
        features_ND,
        labels,
        n_classes=n_classes,
        inverse_penalty=_PENALTY_GRID[int(np.argmin(losses))],
        chosen_by=f"log loss on left-out patients, {len(splits)} folds",
    )


def _left_out_loss(
    features_ND: Features,
    labels_N: IntArray,
    n_classes: int,
    splits: list[tuple[IntArray, IntArray]],
    inverse_penalty: float,
) -> float:
    """Compute the mean log loss of tiles, each predicted by a probe that never saw its patient."""
    loss_N = np.empty(len(labels_N))
    for train, left_out in splits:
        # A fold can leave a training part of one class; every penalty then fares alike on it.
        if len(np.unique(labels_N[train])) < 2:
            loss_N[left_out] = 0.0
            continue
        probe = _fit(
            features_ND[train],
            labels_N[train],
            n_classes=n_classes,
            inverse_penalty=inverse_penalty,
            chosen_by="",
        )
        probabilities_NC = probe.predict_proba(features_ND[left_out])
        of_label_N = probabilities_NC[np.arange(len(left_out)), labels_N[left_out]]
        loss_N[left_out] = -np.log(np.maximum(of_label_N, _SMALLEST_PROBABILITY))
    return float(loss_N.mean())


def _fit(
    features_ND: Features,
    labels_N: IntArray,
    *,
    n_classes: int,
    inverse_penalty: float,
    chosen_by: str,
) -> LinearProbe:
    features = features_ND.astype(np.float64)
    mean_D, deviation_D = features.mean(axis=0), features.std(axis=0)
    # A constant feature leaves rounding in its deviation; dividing by that would make noise of it.
    is_constant_D = deviation_D <= 1e-10 * np.maximum(np.abs(mean_D), 1e-30)
    scale_D = np.where(is_constant_D, 1.0, deviation_D)
    model = LogisticRegression(C=inverse_penalty, max_iter=_MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # reported as `converged` instead
        model.fit((features - mean_D) / scale_D, labels_N)
    weight_DC = np.zeros((features.shape[1], n_classes))
    bias_C = np.full(n_classes, -np.inf)
    if len(model.classes_) == 2:  # one logit; softmax of (0, logit) is its sigmoid
        bias_C[model.classes_[0]] = 0.0
        fitted = model.classes_[1:]
    else:
        fitted = model.classes_
    weight_DC[:, fitted] = model.coef_.T
    bias_C[fitted] = model.intercept_
    return LinearProbe(
        mean_D=mean_D,
        scale_D=scale_D,
        weight_DC=weight_DC,
        bias_C=bias_C,
        inverse_penalty=inverse_penalty,
        chosen_by=chosen_by,
        converged=bool(model.n_iter_.max() < _MAX_ITERATIONS),
    )


def _check(features_ND: Features, labels_N: IntArray, n_classes: int) -> None:
    present = np.unique(labels_N)
    if len(present) and (present[0] < 0 or present[-1] >= n_classes):
        raise LabelError(
            f"labels must be 0 to {n_classes - 1}, got {present[0]} to {present[-1]}; leave "
            "unlabelled tiles (-1) out of the training tiles"
        )
    if len(present) < 2:
        raise LabelError(
            f"a linear probe needs labelled tiles of at least two classes, got {len(labels_N)} "
            f"tiles of classes {present.tolist()}; label tiles of another class"
        )
    broken = np.flatnonzero(~np.isfinite(features_ND).all(axis=1))
    if len(broken):
        raise MedSimCLRError(
            f"features must be finite, got {len(broken)} tiles with others (the first: tile "
            f"{broken[0]}); the encoder that made them has diverged"
        )
