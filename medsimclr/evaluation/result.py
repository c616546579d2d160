"""The result of an evaluation: one row for each model or baseline, with what a reader has to know.

A figure without its number of patients, its baselines and its interval says little, so they live in
one object that is written to JSON as it stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from medsimclr.errors import ConfigError
from medsimclr.evaluation.bootstrap import Interval, Intervals, patient_bootstrap
from medsimclr.evaluation.metrics import Metrics, classification_metrics

__all__ = ["Evaluation", "ModelRow", "from_json", "model_row", "result_table", "to_json"]


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """What one model or baseline achieved."""

    name: str
    metrics: Metrics
    intervals: Intervals


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Every model and baseline on the same labelled tiles."""

    rows: tuple[ModelRow, ...]
    """The model in question first, then its baselines."""
    class_names: tuple[str, ...]
    n_tiles: int
    n_patients: int
    unit: str
    """What the bootstrap resamples: "patient", or "slide" or "tile" where patients are unknown."""
    transductive: bool
    """Whether pretraining saw the test slides, without their labels."""
    notes: tuple[str, ...] = ()
    """Sentences that a reader of the figures has to know."""
    schema_version: Literal[1] = 1


def model_row(
    name: str,
    labels_N: npt.ArrayLike,
    probabilities_NC: npt.ArrayLike,
    units_N: npt.ArrayLike,
    *,
    class_names: Sequence[str],
    unit: str = "patient",
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int,
) -> ModelRow:
    """Measure one model; arguments and errors as in patient_bootstrap."""
    return ModelRow(
        name=name,
        metrics=classification_metrics(labels_N, probabilities_NC, n_classes=len(class_names)),
        intervals=patient_bootstrap(
            labels_N,
            probabilities_NC,
            units_N,
            n_resamples=n_resamples,
            level=level,
            seed=seed,
            unit=unit,
            class_names=class_names,
        ),
    )


def to_json(evaluation: Evaluation) -> str:
    """Write an evaluation as indented JSON; undefined metrics and intervals become null."""
    return TypeAdapter(Evaluation).dump_json(evaluation, indent=2).decode() + "\n"


def from_json(text: str, *, where: str) -> Evaluation:
    """Read an evaluation back.

    Args:
        text: what to_json wrote.
        where: file name, for the error.

    Raises:
        ConfigError: the text is no evaluation of this version.
    """
    try:
        return TypeAdapter(Evaluation).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "document"
        raise ConfigError(
            f"{where}: expected the JSON of an evaluation (schema 1), got a wrong {key}: "
            f"{first['msg']}. Run `medsimclr evaluate` again to write it anew"
        ) from error


def result_table(rows: Sequence[ModelRow]) -> list[list[str]]:
    """Lay rows out as cells, the header first: value and interval of each metric."""
    table = [["model", "AUROC", "balanced accuracy", "accuracy"]]
    for row in rows:
        metrics, intervals = row.metrics, row.intervals
        table.append(
            [
                row.name,
                _cell(metrics.auroc, intervals.auroc),
                _cell(metrics.balanced_accuracy, intervals.balanced_accuracy),
                _cell(metrics.accuracy, intervals.accuracy),
            ]
        )
    return table


def _cell(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "not defined"
    if interval is None:
        return f"{value:.3f} (no interval)"
    return f"{value:.3f} ({interval.low:.3f}–{interval.high:.3f})"
