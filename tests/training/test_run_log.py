import json
import math

import pytest

from medsimclr.training.run_log import RunLog, read_metrics


def _log(run, *, start_step):
    return RunLog(
        run,
        start_step=start_step,
        total_steps=9,
        images_per_step=8,
        log_seconds=60,
        progress=lambda done, total, line: None,
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
