import json

import pytest

from medsimclr.errors import NoInputError
from medsimclr.report.curves import curves_figure


def test_figures_measured_now_and_then_are_drawn_and_warnings_are_not(tmp_path):
    rows = [{"step": 0, "effective_rank": 8.0}]
    rows += [{"step": step, "loss": 1.0 / step} for step in range(1, 41)]
    rows[10]["effective_rank"] = 12.0
    rows[10]["warnings"] = ["collapse"]
    rows[20]["effective_rank"] = 14.0
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    loss, rank = curves_figure([run]).axes
    assert (loss.get_title(), rank.get_title()) == ("run: loss", "run: effective_rank")
    assert len(loss.lines[0].get_xdata()) == 40
    assert list(rank.lines[0].get_xdata()) == [0, 10, 20]
    assert list(rank.lines[0].get_ydata()) == [8.0, 12.0, 14.0]
    assert (loss.lines[0].get_marker(), rank.lines[0].get_marker()) == ("None", ".")


def test_a_figure_that_was_not_finite_is_left_out(tmp_path):
    rows = ['{"step": 1, "uniformity": null}', '{"step": 2, "uniformity": NaN}']
    rows.append('{"step": 3, "uniformity": -1.5}')
    (tmp_path / "metrics.jsonl").write_text("\n".join(rows))
    (uniformity,) = curves_figure([tmp_path]).axes
    assert list(uniformity.lines[0].get_xdata()) == [3]


def test_a_run_without_a_log_is_refused(tmp_path):
    with pytest.raises(NoInputError, match=r"with a metrics.jsonl, got none"):
        curves_figure([tmp_path])
