"""A result says in words when it shows less than it seems to."""

import numpy as np

from medsimclr.evaluation.result import model_row
from medsimclr.report.evaluate import comparison_notes

LABELS = np.array([0, 1] * 8)
PATIENTS = np.repeat(np.arange(4), 4)


def row(name: str, predicted: np.ndarray):
    probabilities = np.where(np.arange(2) == predicted[:, None], 0.9, 0.1)
    return model_row(name, LABELS, probabilities, PATIENTS, class_names=["a", "b"], seed=0)


def test_a_run_no_better_than_a_baseline_is_named_with_it():
    wrong_once = LABELS.copy()
    wrong_once[0] = 1
    rows = [row("run", wrong_once), row("colour", LABELS), row("random", 1 - LABELS)]
    assert comparison_notes(rows, 1) == ["run is no better than colour on these tiles."]
    assert comparison_notes([rows[1], rows[0]], 1) == []


def test_a_run_that_predicts_one_class_is_said_to():
    rows = [row("run", np.ones(16, np.int64)), row("random", 1 - LABELS)]
    assert comparison_notes(rows, 1) == ["run predicts one class for every tile."]
