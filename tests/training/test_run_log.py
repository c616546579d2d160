import json
import math
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medsimclr.training.run_log import RunLog, read_metrics, silent


def _log(run, *, start_step, progress=silent, total_steps=9):
    return RunLog(
        run,
        start_step=start_step,
        total_steps=total_steps,
        images_per_step=8,
        log_seconds=60,
        progress=progress,
    )


@pytest.mark.filterwarnings("ignore:.*NaN or Inf found in input tensor")
def test_what_is_not_finite_is_null_and_read_as_none(tmp_path):
    log = _log(tmp_path, start_step=0)
    log.step(1, {"loss": 2.5, "uniformity": math.nan, "entropy": -math.inf}, ["it is odd"])
    log.close()
    text = (tmp_path / "metrics.jsonl").read_text()
    json.loads(text, parse_constant=pytest.fail)
    row = {"step": 1, "loss": 2.5, "uniformity": None, "entropy": None, "warnings": ["it is odd"]}
    assert read_metrics(tmp_path) == [row]


def test_nan_of_an_earlier_version_becomes_null_on_resume(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "uniformity": NaN}\n{"step": 2, "uniformity": -Infinity}\n')
    _log(tmp_path, start_step=1).close()
    assert path.read_text() == '{"step": 1, "uniformity": null}\n'


def test_a_new_run_has_a_row_before_its_first_step_and_one_begun_anew_has_no_second(tmp_path):
    for _ in range(2):
        log = _log(tmp_path, start_step=0)
        log.start({"effective_rank": 18.0}, ["it is odd"])
        log.step(1, {"loss": 2.5})
        log.close()
    before = {"step": 0, "effective_rank": 18.0, "warnings": ["it is odd"]}
    assert read_metrics(tmp_path) == [before, {"step": 1, "loss": 2.5}]
    _log(tmp_path, start_step=1).close()
    assert read_metrics(tmp_path) == [before, {"step": 1, "loss": 2.5}]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("effective_rank")] == [0]
    assert [event.step for event in events.Scalars("loss")] == [1]


def test_nothing_found_before_the_first_step_leaves_no_row(tmp_path):
    log = _log(tmp_path, start_step=0)
    log.start({}, [])
    log.close()
    assert read_metrics(tmp_path) == []


def test_progress_counts_views_from_the_first_step_on(tmp_path, monkeypatch):
    now, lines = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    log = _log(tmp_path, start_step=0, total_steps=2, progress=lambda *said: lines.append(said))
    now[0] += 50
    log.start({"effective_rank": 18.0}, [])
    now[0] += 2
    log.step(1, {"loss": 2.5})
    now[0] += 2
    log.step(2, {"loss": 2.5})
    log.close()
    assert lines == [(2, 2, "loss 2.5 · 4 views/s · 0 s left")]


def test_a_warning_that_the_last_step_repeats_is_logged_and_not_shown_again(tmp_path):
    lines = []
    log = _log(tmp_path, start_step=0, total_steps=4, progress=lambda *said: lines.append(said[2]))
    for step, warnings in enumerate([["a"], [], ["a"], ["a", "b"]], start=1):
        log.step(step, {"loss": 2.5}, warnings)
    log.close()
    assert lines[:-1] == ["a", "a", "b"]
    assert read_metrics(tmp_path)[-1]["warnings"] == ["a", "b"]
