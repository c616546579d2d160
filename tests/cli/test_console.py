import json
import math

import pytest

from medsimclr.cli.console import print_json, show_progress
from medsimclr.cli.training_result import print_training_result


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
    print_training_result(tmp_path, as_json=False)
    assert capsys.readouterr().out == f"{tmp_path}: 7 steps done; last step: loss 0.5\n"
    print_training_result(tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"run": str(tmp_path), **json.loads(row)}
