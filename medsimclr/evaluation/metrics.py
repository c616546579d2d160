"""Metrics of a classifier from labels and probabilities, fast enough to be bootstrapped.

Every metric accepts a whole-number weight per tile; a weight of 2 is the same as the tile standing
there twice, so that a bootstrap resample is a vector of weights and nothing is copied or sorted
again. The results equal scikit-learn's (`roc_auc_score`, `balanced_accuracy_score`,
`confusion_matrix`), except that a metric the labels cannot define is None instead of a warning.

Shapes: N tiles, C classes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medsimclr.errors import LabelError, MedSimCLRError

__all__ = ["Metrics", "RankedTiles", "auroc", "classification_metrics", "confusion", "rank_tiles"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What a classifier achieves on a set of labelled tiles."""

    auroc: float | None
    """Area under the ROC curve, ties counted half. Two classes: of class 1. More: mean over the
    classes, each against the rest, unweighted. None as soon as one class has no tile: a mean over
    the others would be another quantity under the same name."""

    balanced_accuracy: float
    """Mean of the recalls that are defined."""

    accuracy: float
    """Fraction of tiles whose most probable class is the label; ties go to the lower class."""

    recall_C: tuple[float | None, ...]
    """Fraction of the tiles of a class that are found; None for a class without tiles."""

    confusion_CC: tuple[tuple[int, ...], ...]
    """Tiles counted by truth (row) and prediction (column)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ranking:
    """Tiles in descending order of one class's probability."""

    order_N: IntArray
    is_positive_N: FloatArray
    """1.0 for tiles of the class, in ranked order."""
    last_of_tie_G: IntArray
    """Position of the last tile of each group of equal probabilities."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RankedTiles:
    """Labels and probabilities, sorted once, so that metrics under new weights take no sort."""

    n_classes: int
    cell_N: IntArray
    """Flat index of each tile in the confusion matrix: label * n_classes + prediction."""
    rankings: tuple[_Ranking, ...]
    """One for two classes (class 1), else one for each class."""


def classification_metrics(
    labels_N: npt.ArrayLike,
    probabilities_NC: npt.ArrayLike,
    *,
    n_classes: int,
    weights_N: npt.ArrayLike | None = None,
) -> Metrics:
    """Measure probabilities against labels.

    Args:
        labels_N: class of each tile, 0 to n_classes - 1; leave unlabelled tiles out before.
        probabilities_NC: probability of each class; a row need not sum to exactly 1.
        n_classes: at least 2.
        weights_N: how many times each tile counts, whole numbers; once each by default.

    Raises:
        LabelError: there is no tile, or a label is no class.
        MedSimCLRError: a probability is not a finite number.
    """
    tiles = rank_tiles(labels_N, probabilities_NC, n_classes=n_classes)
    weights = (
        np.ones(len(tiles.cell_N)) if weights_N is None else np.asarray(weights_N, dtype=np.float64)
    )
    assert weights.shape == tiles.cell_N.shape, (weights.shape, tiles.cell_N.shape)
    confusion_CC = confusion(tiles, weights)
    n_truth_C = confusion_CC.sum(axis=1)
    found_C = np.diagonal(confusion_CC)
    recall_C = [float(f / n) if n else None for f, n in zip(found_C, n_truth_C, strict=True)]
    defined = [recall for recall in recall_C if recall is not None]
    if not defined:
        raise LabelError("expected at least one tile with a weight above 0, got none")
    return Metrics(
        auroc=auroc(tiles, weights) if np.all(n_truth_C > 0) else None,
        balanced_accuracy=float(np.mean(defined)),
        accuracy=float(found_C.sum() / n_truth_C.sum()),
        recall_C=tuple(recall_C),
        confusion_CC=tuple(tuple(int(count) for count in row) for row in confusion_CC),
    )


def rank_tiles(
    labels_N: npt.ArrayLike, probabilities_NC: npt.ArrayLike, *, n_classes: int
) -> RankedTiles:
    """Check labels and probabilities and sort them once; arguments as in classification_metrics."""
    labels = np.asarray(labels_N, dtype=np.int64)
    probabilities = np.asarray(probabilities_NC, dtype=np.float64)
    _check(labels, probabilities, n_classes)
    scored_classes = [1] if n_classes == 2 else range(n_classes)
    return RankedTiles(
        n_classes=n_classes,
        cell_N=labels * n_classes + probabilities.argmax(axis=1),
        rankings=tuple(_rank(probabilities[:, c], labels == c) for c in scored_classes),
    )


def confusion(tiles: RankedTiles, weights_N: FloatArray) -> FloatArray:
    """Count weighted tiles by truth (row) and prediction (column); float64 (C, C)."""
    n_cells = tiles.n_classes**2
    count_of_cell = np.zeros(n_cells)
    count_of_cell += np.bincount(tiles.cell_N, weights=weights_N, minlength=n_cells)
    return count_of_cell.reshape(tiles.n_classes, tiles.n_classes)


def auroc(tiles: RankedTiles, weights_N: FloatArray) -> float:
    """Compute the AUROC as Metrics defines it; the caller sees to it that no class is absent."""
    return float(np.mean([_binary_auroc(ranking, weights_N) for ranking in tiles.rankings]))


def _rank(score_N: FloatArray, is_positive_N: npt.NDArray[np.bool_]) -> _Ranking:
    order = np.argsort(-score_N, kind="stable")
    is_last_of_tie = np.append(np.diff(score_N[order]) != 0, True)
    return _Ranking(
        order_N=order,
        is_positive_N=is_positive_N[order].astype(np.float64),
        last_of_tie_G=np.flatnonzero(is_last_of_tie),
    )


def _binary_auroc(ranking: _Ranking, weights_N: FloatArray) -> float:
    """Sum the trapezoids under true against false positives, one for each group of ties."""
    ranked_weights = weights_N[ranking.order_N]
    # Sums of whole numbers below 2**53 are exact in float64, so ties and order leave no rounding.
    true_positives = np.cumsum(ranked_weights * ranking.is_positive_N)[ranking.last_of_tie_G]
    n_seen = np.cumsum(ranked_weights)[ranking.last_of_tie_G]
    false_positives = n_seen - true_positives
    area = np.trapezoid(np.append(0.0, true_positives), np.append(0.0, false_positives))
    return float(area / (true_positives[-1] * false_positives[-1]))


def _check(labels_N: IntArray, probabilities_NC: FloatArray, n_classes: int) -> None:
    assert n_classes >= 2, n_classes
    expected = (len(labels_N), n_classes)
    assert probabilities_NC.shape == expected, (probabilities_NC.shape, expected)
    if len(labels_N) == 0:
        raise LabelError(
            "expected labelled tiles to evaluate, got none; label tiles of the test split"
        )
    wrong = np.flatnonzero((labels_N < 0) | (labels_N >= n_classes))
    if len(wrong):
        raise LabelError(
            f"labels must be 0 to {n_classes - 1}, got {labels_N[wrong[0]]} for tile {wrong[0]}; "
            "leave unlabelled tiles (-1) out of the evaluation"
        )
    broken = np.flatnonzero(~np.isfinite(probabilities_NC).all(axis=1))
    if len(broken):
        raise MedSimCLRError(
            f"probabilities must be finite, got {probabilities_NC[broken[0]].tolist()} for tile "
            f"{broken[0]} ({len(broken)} such tiles); the model that made them has diverged"
        )
