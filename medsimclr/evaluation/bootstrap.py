"""Intervals of metrics from a bootstrap over patients.

Tiles of one patient resemble each other, so resampling tiles gives intervals far too narrow. Here
whole patients are drawn with replacement (the cluster bootstrap; Davison and Hinkley, Bootstrap
Methods, 1997), and the interval runs between percentiles of the resampled metric.

The draw is plain, not stratified by class: which patients one happened to collect is part of the
uncertainty. A resample in which a class is missing cannot define AUROC or that class's recall; it
is left out of everything but accuracy, and counted. The same seed and patients give the same
resamples for every model, so rows of one table are paired.

Shapes: N tiles, U units (patients), R resamples, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medsimclr.evaluation.metrics import FloatArray, IntArray, auroc, confusion, rank_tiles

__all__ = ["Interval", "Intervals", "patient_bootstrap"]

# Percentile intervals of fewer units are markedly too narrow; chosen here.
_FEW_UNITS = 10
_MANY_LEFT_OUT = 0.1


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Percentile interval of one metric."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Intervals of every metric; None where the patients at hand cannot support one."""

    auroc: Interval | None
    balanced_accuracy: Interval | None
    accuracy: Interval | None
    recall_C: tuple[Interval | None, ...]
    confusion_rate_CC: tuple[tuple[Interval | None, ...], ...]
    """Of the confusion matrix with each row (truth) divided by its sum; recall is its diagonal."""
    level: float
    n_units: int
    n_resamples: int
    n_used: int
    """Resamples that hold every class that the labels hold; the others count for accuracy alone."""
    warnings: tuple[str, ...]
    """Sentences that a reader of the intervals has to know."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Resamples:
    accuracy_R: FloatArray
    balanced_accuracy_R: FloatArray
    auroc_R: FloatArray
    rate_RCC: FloatArray
    n_used: int


def patient_bootstrap(
    labels_N: npt.ArrayLike,
    probabilities_NC: npt.ArrayLike,
    units_N: npt.ArrayLike,
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int,
    unit: str = "patient",
    class_names: Sequence[str] | None = None,
) -> Intervals:
    """Compute intervals by resampling units, usually patients, with replacement.

    A class whose tiles come from one unit shows no variation between units: resampling repeats the
    same recall and would report certainty. Its row, AUROC and balanced accuracy get no interval.

    Args:
        labels_N: class of each tile, 0 to C - 1.
        probabilities_NC: probability of each class.
        units_N: which unit a tile belongs to; any integers.
        n_resamples: 1,000 is customary for 95 % percentile intervals.
        level: coverage of the intervals, between 0 and 1.
        seed: of the resampling.
        unit: what a unit is, for the warnings.
        class_names: for the warnings; numbers from 0 by default.

    Raises: as classification_metrics.
    """
    assert n_resamples >= 1, n_resamples
    assert 0 < level < 1, level
    labels = np.asarray(labels_N, dtype=np.int64)
    probabilities = np.asarray(probabilities_NC, dtype=np.float64)
    units, unit_N = np.unique(np.asarray(units_N), return_inverse=True)
    assert unit_N.shape == labels.shape, (unit_N.shape, labels.shape)
    n_units, n_classes = len(units), probabilities.shape[1]
    n_units_C = [len(np.unique(unit_N[labels == c])) for c in range(n_classes)]
    resamples = _resample(
        labels, probabilities, unit_N, n_units=n_units, n_resamples=n_resamples, seed=seed
    )
    all_vary = min(n_units_C) >= 2
    present_vary = all(n >= 2 for n in n_units_C if n > 0)
    rates = _rate_intervals(resamples.rate_RCC, n_units_C, level)
    return Intervals(
        auroc=_interval(resamples.auroc_R, level) if all_vary else None,
        balanced_accuracy=_interval(resamples.balanced_accuracy_R, level) if present_vary else None,
        accuracy=_interval(resamples.accuracy_R, level) if n_units >= 2 else None,
        recall_C=tuple(rates[c][c] for c in range(n_classes)),
        confusion_rate_CC=rates,
        level=level,
        n_units=n_units,
        n_resamples=n_resamples,
        n_used=resamples.n_used,
        warnings=_warnings(
            dict(zip(class_names or map(str, range(n_classes)), n_units_C, strict=True)),
            unit,
            n_units=n_units,
            n_left_out=n_resamples - resamples.n_used,
            n_resamples=n_resamples,
        ),
    )


def _resample(
    labels_N: IntArray,
    probabilities_NC: FloatArray,
    unit_N: IntArray,
    *,
    n_units: int,
    n_resamples: int,
    seed: int,
) -> _Resamples:
    tiles = rank_tiles(labels_N, probabilities_NC, n_classes=probabilities_NC.shape[1])
    present_C = np.bincount(labels_N, minlength=tiles.n_classes) > 0
    generator = np.random.default_rng(seed)
    accuracy, balanced_accuracy, area, rate = [], [], [], []
    for _ in range(n_resamples):
        drawn = generator.integers(0, n_units, size=n_units)
        times_drawn_U = np.bincount(drawn, minlength=n_units).astype(np.float64)
        weights_N = times_drawn_U[unit_N]
        confusion_CC = confusion(tiles, weights_N)
        n_truth_C = confusion_CC.sum(axis=1)
        accuracy.append(np.trace(confusion_CC) / n_truth_C.sum())
        if np.any(n_truth_C[present_C] == 0):
            continue
        rate_CC = confusion_CC / np.maximum(n_truth_C, 1)[:, None]
        rate.append(rate_CC)
        balanced_accuracy.append(np.diagonal(rate_CC)[present_C].mean())
        if present_C.all():
            area.append(auroc(tiles, weights_N))
    return _Resamples(
        accuracy_R=np.array(accuracy),
        balanced_accuracy_R=np.array(balanced_accuracy),
        auroc_R=np.array(area),
        rate_RCC=np.array(rate),
        n_used=len(rate),
    )


def _interval(value_R: FloatArray, level: float) -> Interval | None:
    if len(value_R) == 0:
        return None
    low, high = np.quantile(value_R, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low=float(low), high=float(high))


def _rate_intervals(
    rate_RCC: FloatArray, n_units_C: Sequence[int], level: float
) -> tuple[tuple[Interval | None, ...], ...]:
    n_classes = len(n_units_C)
    rows: list[tuple[Interval | None, ...]] = []
    for truth, n_units in enumerate(n_units_C):
        if n_units < 2 or len(rate_RCC) == 0:
            rows.append((None,) * n_classes)
        else:
            rows.append(tuple(_interval(rate_RCC[:, truth, p], level) for p in range(n_classes)))
    return tuple(rows)


def _warnings(
    n_units_of_class: Mapping[str, int],
    unit: str,
    *,
    n_units: int,
    n_left_out: int,
    n_resamples: int,
) -> tuple[str, ...]:
    if n_units < 2:
        return (f"All tiles come from one {unit}: no interval can be computed.",)
    sentences = []
    absent = [name for name, n in n_units_of_class.items() if n == 0]
    if absent:
        sentences.append(f"No tile is of class {', '.join(absent)}: the AUROC is not defined.")
    single = [name for name, n in n_units_of_class.items() if n == 1]
    if single:
        sentences.append(
            f"All tiles of class {', '.join(single)} come from one {unit}: its recall, the AUROC "
            "and the balanced accuracy have no interval."
        )
    if n_units < _FEW_UNITS:
        sentences.append(f"{n_units} {unit}s are few: the intervals are likely too narrow.")
    if n_left_out > _MANY_LEFT_OUT * n_resamples:
        sentences.append(
            f"{n_left_out:,} of {n_resamples:,} resamples lacked a class and count for the "
            f"accuracy alone: too few {unit}s carry some class."
        )
    return tuple(sentences)
