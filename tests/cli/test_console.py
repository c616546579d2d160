import json
import math

import pytest

from medsimclr.cli.console import print_json, show_progress
from medsimclr.cli.training_result import print_training_result
from medsimclr.config.finetune import FinetuneConfig
from medsimclr.config.pretrain import PretrainConfig


def test_json_has_no_nan_and_no_infinity(capsys):
    print_json({"a": [1.5, math.nan, (math.inf, None)], "b": {"c": -math.inf, "d": "nan"}})
    said = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert said == {"a": [1.5, None, [None, None]], "b": {"c": None, "d": "nan"}}


@pytest.mark.parametrize("rank", ["", "0", "1"])
@pytest.mark.parametrize("is_terminal", [False, True])
def test_of_several_processes_only_the_first_shows_progress(monkeypatch, capsys, rank, is_terminal):
    monkeypatch.setenv("RANK", rank) if rank else monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1") if is_terminal else monkeypatch.delenv(
        "FORCE_COLOR", raising=False
    )
    with show_progress("pretrain") as report:
        report(3, 3, "loss 2.5")
        report(0, 0, "damaged")
    said = capsys.readouterr().err
    assert ("loss 2.5" in said, "damaged" in said) == (rank != "1", rank != "1")
    assert rank != "1" or not said


def test_a_result_with_a_figure_that_is_not_finite_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("RANK", raising=False)
    row = '{"step": 7, "loss": 0.5, "uniformity": null}\n'
    (tmp_path / "metrics.jsonl").write_text(row)
    config = FinetuneConfig(store="s", run="r", out=tmp_path, epochs=3)
    print_training_result(config, steps_before=0, as_json=False)
    assert capsys.readouterr().out == f"{tmp_path}: 7 steps done; last step: loss 0.5\n"
    print_training_result(config, steps_before=0, as_json=True)
    said = json.loads(capsys.readouterr().out)
    none = {"before_training": {}, "warnings": [], "resumed_after_step": None}
    course = {"total_steps": 7, "epochs": 3}
    assert said == {"run": str(tmp_path), **json.loads(row), **course, **none}


def test_a_result_repeats_warnings_and_what_was_measured_before(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("RANK", raising=False)
    rows = [
        {"step": 0, "effective_rank": 18.0, "knn_balanced_accuracy": 0.42},
        {"step": 1, "loss": 2.5, "warnings": ["collapse: that ended."]},
        {"step": 2, "loss": 0.5, "knn_balanced_accuracy": 0.61, "warnings": ["it is at chance."]},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = PretrainConfig(store="s", out=tmp_path)
    print_training_result(config, steps_before=1, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}: 2 steps done, 1 of them by an earlier start; last step: loss 0.5, "
        "knn_balanced_accuracy 0.61 (before training 0.42)",
        "warning: it is at chance.",
    ]
    print_training_result(config, steps_before=1, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["resumed_after_step"] == 1
    assert said["warnings"] == ["it is at chance."]
    assert said["before_training"] == {"effective_rank": 18.0, "knn_balanced_accuracy": 0.42}
    assert said["knn_balanced_accuracy"] == 0.61
