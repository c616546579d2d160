import json
from dataclasses import replace

import numpy as np
import pytest

from medsimclr.errors import ConfigError
from medsimclr.evaluation.result import Evaluation, from_json, model_row, result_table, to_json

CLASS_NAMES = ("normal", "tumour")


def draw_evaluation(*, n_patients=12):
    generator = np.random.default_rng(0)
    units = np.repeat(np.arange(n_patients), 10)
    labels = generator.integers(0, 2, len(units))
    probabilities = generator.dirichlet([1, 1], len(units))
    row = model_row(
        "finetuned", labels, probabilities, units, class_names=CLASS_NAMES, n_resamples=50, seed=0
    )
    return Evaluation(
        rows=(row,),
        class_names=CLASS_NAMES,
        n_tiles=len(labels),
        n_patients=n_patients,
        unit="patient",
        transductive=True,
        notes=("Pretraining saw the test slides.",),
    )


@pytest.mark.parametrize("n_patients", [1, 12])
def test_json_round_trip_keeps_everything(n_patients):
    evaluation = draw_evaluation(n_patients=n_patients)
    assert from_json(to_json(evaluation), where="result.json") == evaluation


def test_json_is_plain_and_undefined_values_are_null():
    evaluation = draw_evaluation(n_patients=1)
    document = json.loads(to_json(evaluation), parse_constant=pytest.fail)
    assert document["transductive"] is True
    assert document["rows"][0]["intervals"]["auroc"] is None
    assert document["rows"][0]["metrics"]["confusion_CC"][0][0] > 0


def test_json_of_something_else_is_refused_with_the_file_and_the_key():
    document = json.loads(to_json(draw_evaluation()))
    document["rows"][0]["metrics"]["accuracy"] = "high"
    expected = r"result\.json: expected the JSON of an evaluation .* rows\.0\.metrics\.accuracy"
    with pytest.raises(ConfigError, match=expected):
        from_json(json.dumps(document), where="result.json")


def test_json_of_another_schema_is_refused():
    text = to_json(draw_evaluation()).replace('"schema_version": 1', '"schema_version": 2')
    with pytest.raises(ConfigError, match="got a wrong schema_version"):
        from_json(text, where="result.json")


def test_text_that_is_no_json_is_refused():
    with pytest.raises(ConfigError, match=r"result\.json: .* got a wrong document"):
        from_json("{", where="result.json")


def test_table_states_value_and_interval():
    row = draw_evaluation().rows[0]
    header, cells = result_table([row])
    assert header == ["model", "AUROC", "balanced accuracy", "accuracy"]
    assert cells[0] == "finetuned"
    interval = row.intervals.auroc
    assert cells[1] == f"{row.metrics.auroc:.3f} ({interval.low:.3f}–{interval.high:.3f})"


def test_table_says_what_is_not_defined():
    row = draw_evaluation(n_patients=1).rows[0]
    row = replace(row, metrics=replace(row.metrics, auroc=None))
    cells = result_table([row])[1]
    assert cells[1] == "not defined"
    assert cells[3].endswith("(no interval)")
