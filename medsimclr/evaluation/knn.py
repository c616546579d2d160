"""Nearest neighbours by cosine similarity and the classifier they make.

The weighting is that of InstDisc (Wu et al. 2018, arXiv 1805.01978, section 3.4): each of the k
neighbours votes for its label with exp(similarity / temperature), temperature 0.07. Papers on
contrastive learning report this figure as "kNN accuracy"; it has no parameter to fit.

Shapes: Q queries, N bank entries, D features, K neighbours, C classes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from medsimclr.errors import ConfigError, LabelError
from medsimclr.evaluation.metrics import FloatArray, IntArray, classification_metrics

__all__ = ["cosine_neighbours", "knn_across_units", "knn_probabilities"]

# Similarities held at once: 2**24 of float32 are 64 MiB, whatever the number of queries.
_BLOCK_ENTRIES = 2**24


def cosine_neighbours(
    query_QD: npt.NDArray[np.floating[Any]], bank_ND: npt.NDArray[np.floating[Any]], *, k: int
) -> tuple[IntArray, FloatArray]:
    """Find the k entries of the bank most similar to each query.

    A row of zeros has similarity 0 to everything. Where several entries tie for the last place,
    which of them is taken is not specified.

    Returns:
        (indices_QK into the bank, similarity_QK between -1 and 1), most similar first.

    Raises:
        ConfigError: k is below 1 or above the size of the bank.
    """
    if not 1 <= k <= len(bank_ND):
        raise ConfigError(
            f"k must be between 1 and the {len(bank_ND)} labelled tiles to compare with, got {k}"
        )
    assert query_QD.shape[1] == bank_ND.shape[1], (query_QD.shape, bank_ND.shape)
    query, bank = _unit_rows(query_QD), _unit_rows(bank_ND)
    indices_QK = np.empty((len(query), k), dtype=np.int64)
    similarity_QK = np.empty((len(query), k), dtype=np.float64)
    block = max(1, _BLOCK_ENTRIES // len(bank))
    for start in range(0, len(query), block):
        rows = slice(start, start + block)
        indices_QK[rows], similarity_QK[rows] = _top_k(query[rows] @ bank.T, k)
    return indices_QK, similarity_QK


def knn_probabilities(
    query_QD: npt.NDArray[np.floating[Any]],
    bank_ND: npt.NDArray[np.floating[Any]],
    bank_labels_N: npt.ArrayLike,
    *,
    n_classes: int,
    k: int = 200,
    temperature: float = 0.07,
) -> FloatArray:
    """Classify queries by the labels of their neighbours.

    Args:
        query_QD: features to classify.
        bank_ND: features of labelled tiles.
        bank_labels_N: their classes, 0 to n_classes - 1.
        n_classes: number of classes C.
        k: neighbours that vote; 200 in InstDisc, section 3.4.
        temperature: of the weights; 0.07 in InstDisc, section 3.4. Small: the nearest decides.

    Returns:
        Probabilities (Q, C): the weights of each class over the sum of weights.

    Raises:
        ConfigError: k is below 1 or above the size of the bank, or temperature is not above 0.
        LabelError: a label of the bank is no class.
    """
    if not temperature > 0:
        raise ConfigError(f"temperature must be above 0, got {temperature!r}")
    labels = np.asarray(bank_labels_N, dtype=np.int64)
    assert labels.shape == (len(bank_ND),), (labels.shape, bank_ND.shape)
    if len(labels) and (labels.min() < 0 or labels.max() >= n_classes):
        raise LabelError(
            f"labels must be 0 to {n_classes - 1}, got {labels.min()} to {labels.max()}; leave "
            "unlabelled tiles (-1) out of the bank"
        )
    indices_QK, similarity_QK = cosine_neighbours(query_QD, bank_ND, k=k)
    return _vote(labels[indices_QK], similarity_QK, n_classes=n_classes, temperature=temperature)


def knn_across_units(
    features_ND: npt.NDArray[np.floating[Any]],
    labels_N: npt.ArrayLike,
    units_N: npt.ArrayLike,
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> float | None:
    """Measure how well tiles are classified by their neighbours in other units.

    A tile's neighbours come only from other units, usually patients: features that recognise the
    patient win nothing. All similarities are held at once: for samples of some thousand tiles.

    Args:
        features_ND: finite features of the sample.
        labels_N: their classes, -1 for none; unlabelled tiles are left out, and so is a class of
            one unit, whose tiles could find none of their kind.
        units_N: which unit a tile belongs to.
        k: neighbours that vote, fewer where the smallest class has fewer tiles (chosen here: with
            InstDisc's 200, a sample of 512 would vote by the size of its classes).
        temperature: of the weights, as in knn_probabilities.

    Returns:
        Balanced accuracy; None where fewer than two classes have two units each.
    """
    label_N, units = np.asarray(labels_N, dtype=np.int64), np.asarray(units_N)
    assert label_N.shape == units.shape == (len(features_ND),), (label_N.shape, units.shape)
    classes = [
        c for c in np.unique(label_N[label_N >= 0]) if len(np.unique(units[label_N == c])) >= 2
    ]
    if len(classes) < 2:
        return None
    kept = np.isin(label_N, classes)
    label_N, units = np.searchsorted(classes, label_N[kept]), units[kept]
    unit_ND = _unit_rows(features_ND[kept])
    similarity_NN = np.where(units[:, None] == units[None, :], -np.inf, unit_ND @ unit_ND.T)
    k = min(k, int(np.bincount(label_N).min()))
    top_NK, similarity_NK = _top_k(similarity_NN, k)
    probabilities_NC = _vote(
        label_N[top_NK], similarity_NK, n_classes=len(classes), temperature=temperature
    )
    return classification_metrics(
        label_N, probabilities_NC, n_classes=len(classes)
    ).balanced_accuracy


def _vote(
    label_QK: IntArray,
    similarity_QK: npt.NDArray[np.floating[Any]],
    *,
    n_classes: int,
    temperature: float,
) -> FloatArray:
    # Relative to the nearest neighbour: the same ratios, and no overflow at a small temperature.
    weight_QK = np.exp((similarity_QK - similarity_QK[:, :1]) / temperature)
    votes = [np.sum(weight_QK, axis=1, where=label_QK == c) for c in range(n_classes)]
    probabilities_QC: FloatArray = np.stack(votes, axis=1) / weight_QK.sum(axis=1, keepdims=True)
    return probabilities_QC


def _top_k(
    similarity_QN: npt.NDArray[np.floating[Any]], k: int
) -> tuple[IntArray, npt.NDArray[np.floating[Any]]]:
    # A full sort of a block is several times slower than a partition and a sort of the k.
    top_QK = np.argpartition(-similarity_QN, k - 1, axis=1)[:, :k]
    similarity_QK = np.take_along_axis(similarity_QN, top_QK, axis=1)
    order_QK = np.lexsort((top_QK, -similarity_QK), axis=1)
    return (
        np.take_along_axis(top_QK, order_QK, axis=1).astype(np.int64),
        np.take_along_axis(similarity_QK, order_QK, axis=1),
    )


def _unit_rows(features: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """Divide rows by their length, in their own precision: float32 halves memory and time."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1)
