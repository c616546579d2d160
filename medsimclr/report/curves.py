"""Training curves of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from medsimclr.errors import NoInputError
from medsimclr.training.run_log import read_metrics

__all__ = ["curves_figure"]

_FEW_POINTS = 30


def curves_figure(runs: Sequence[Path]) -> Figure:
    """Draw every logged figure of every run over its steps; one row a run.

    Raises:
        NoInputError: a run has logged nothing.
    """
    logs = {run.name: read_metrics(run) for run in runs}
    for run in runs:
        if not logs[run.name]:
            raise NoInputError(
                f"{str(run)!r} must be a run directory with a metrics.jsonl, got none; give the "
                "--out of pretrain, finetune or distill."
            )
    names = {title: _figures(rows) for title, rows in logs.items()}
    n_columns = max(map(len, names.values()))
    figure = Figure(figsize=(3.2 * n_columns, 2.4 * len(runs)), layout="constrained")
    grid = figure.subplots(len(runs), n_columns, squeeze=False)
    for axes_row, (title, rows) in zip(grid, logs.items(), strict=True):
        for axes in axes_row[len(names[title]) :]:
            axes.set_visible(False)
        for axes, name in zip(axes_row, names[title], strict=False):
            # Some figures are measured only now and then, a single time in a short run.
            points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
            axes.plot(*zip(*points, strict=True), linewidth=1, marker=_marker(points))
            axes.set_title(f"{title}: {name}", fontsize=9)
            axes.set_xlabel("step", fontsize=8)
            axes.tick_params(labelsize=8)
            axes.grid(alpha=0.3)
    return figure


def _figures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of everything that is a number, in the order of the last rows."""
    numbers = (
        key for row in reversed(rows) for key, value in row.items() if isinstance(value, float)
    )
    return list(dict.fromkeys(numbers))


def _marker(points: Sequence[tuple[int, float]]) -> str | None:
    return "." if len(points) <= _FEW_POINTS else None
