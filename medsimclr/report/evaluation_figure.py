"""One picture of an evaluation: every model with its interval, and what the first one confuses."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from medsimclr.evaluation.bootstrap import Interval
from medsimclr.evaluation.result import ModelRow

__all__ = ["evaluation_figure"]

_FIRST_COLOUR = "#0b5394"
_BASELINE_COLOUR = "#666666"


def evaluation_figure(
    rows: Sequence[ModelRow], class_names: Sequence[str], *, unit: str = "patient"
) -> Figure:
    """Draw balanced accuracy and AUROC of every row, and the confusion matrix of the first.

    Args:
        rows: the model in question first, then its baselines; at least one.
        class_names: names of the classes, in the order of the labels.
        unit: what the bootstrap resampled, for the caption.

    Returns:
        A figure of its own (no pyplot state); save it with `figure.savefig(path)`.
    """
    assert rows, "evaluation_figure needs at least one row"
    confusion_inches = max(3.6, 0.85 * len(class_names))
    height = max(2.6 + 0.5 * len(rows), confusion_inches + 1.6)
    figure = Figure(
        figsize=(8.2 + confusion_inches, height),
        layout=ConstrainedLayoutEngine(wspace=0.04),
        dpi=120,
    )
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(1, 3, width_ratios=[2.6, 2.6, confusion_inches])
    left, middle, right = (figure.add_subplot(grid[0, column]) for column in range(3))
    balanced = [(row.metrics.balanced_accuracy, row.intervals.balanced_accuracy) for row in rows]
    areas = [(row.metrics.auroc, row.intervals.auroc) for row in rows]
    is_binary = len(class_names) == 2
    auroc_name = (
        f"AUROC of {class_names[1]}" if is_binary else "AUROC\n(one class against the rest)"
    )
    _forest(left, balanced, title="Balanced accuracy", chance=1 / len(class_names))
    _forest(middle, areas, title=auroc_name, chance=0.5)
    left.set_yticks(range(len(rows)), [textwrap.fill(row.name, 26) for row in rows])
    middle.set_yticks(range(len(rows)), [""] * len(rows))
    _confusion(right, rows[0], class_names)
    figure.supxlabel(
        _caption(rows, unit, width=int(13 * (8.2 + confusion_inches))),
        fontsize=8,
        x=0.01,
        ha="left",
    )
    return figure


def _forest(
    axes: Axes,
    values: Sequence[tuple[float | None, Interval | None]],
    *,
    title: str,
    chance: float,
) -> None:
    """Draw one metric: a point and its interval for each row, the first row on top."""
    axes.axvline(chance, color="#999999", linestyle="--", linewidth=1)
    lowest = chance
    for position, (value, interval) in enumerate(values):
        colour = _FIRST_COLOUR if position == 0 else _BASELINE_COLOUR
        if value is None:
            axes.text(chance, position, " not defined", va="center", fontsize=8, color=colour)
            continue
        label = f"{value:.3f}"
        if interval is not None:
            axes.plot([interval.low, interval.high], [position] * 2, color=colour, linewidth=2.5)
            label += f" ({interval.low:.3f}–{interval.high:.3f})"
            lowest = min(lowest, interval.low)
        lowest = min(lowest, value)
        axes.plot(value, position, marker="o", color=colour, markersize=7)
        # Above the bar, and at the right edge: a value near 1 would push its label out.
        axes.annotate(
            label,
            (1.0, position),
            xytext=(0, 6),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=colour,
        )
    axes.set_xlim(max(0.0, lowest - 0.05), 1.01)
    axes.set_ylim(len(values) - 0.5, -0.7)
    axes.set_title(title, fontsize=10)
    axes.grid(axis="x", color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _confusion(axes: Axes, row: ModelRow, class_names: Sequence[str]) -> None:
    """Draw counts, rates of each true class, and their intervals."""
    count_CC = np.array(row.metrics.confusion_CC)
    n_truth_C = count_CC.sum(axis=1)
    rate_CC = count_CC / np.maximum(n_truth_C, 1)[:, None]
    axes.imshow(rate_CC, cmap="Blues", vmin=0, vmax=1)
    size = 9 if len(class_names) <= 4 else 7
    for truth, predicted in np.ndindex(count_CC.shape):
        lines = [f"{count_CC[truth, predicted]:,}"]
        if n_truth_C[truth]:
            lines.append(f"{100 * rate_CC[truth, predicted]:.0f} %")
        interval = row.intervals.confusion_rate_CC[truth][predicted]
        if interval is not None:
            lines.append(f"({100 * interval.low:.0f}–{100 * interval.high:.0f} %)")
        colour = "white" if rate_CC[truth, predicted] > 0.6 else "black"
        text = "\n".join(lines)
        axes.text(predicted, truth, text, ha="center", va="center", fontsize=size, color=colour)
    axes.set_xticks(range(len(class_names)), class_names)
    if len(class_names) > 3:
        for name in axes.get_xticklabels():
            name.set(rotation=30, ha="right")
    names = [f"{name}\n{n:,} tiles" for name, n in zip(class_names, n_truth_C, strict=True)]
    axes.set_yticks(range(len(class_names)), names)
    axes.tick_params(length=0, labelsize=size)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    title = textwrap.fill(f"Confusion matrix: {row.name}", 40)
    axes.set_title(f"{title}\n(tiles, share of the true class)", fontsize=10)


def _caption(rows: Sequence[ModelRow], unit: str, *, width: int) -> str:
    """Say in words what bars, dashes and brackets are, and what to beware of."""
    intervals = rows[0].intervals
    sentences = [
        f"Bars and brackets: {100 * intervals.level:g} % interval from {intervals.n_resamples:,} "
        f"resamples of {intervals.n_units:,} {unit}{'s' if intervals.n_units != 1 else ''}. "
        "Dashed line: what guessing achieves."
    ]
    # The rows stand on the same tiles, so they mostly share their warnings.
    sentences += dict.fromkeys(warning for row in rows for warning in row.intervals.warnings)
    return "\n".join(textwrap.fill(sentence, width) for sentence in sentences)
