"""A comparison as a picture: a panel a figure, a line a row."""

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medsimclr.report.comparison_runs import COLOUR, RANDOM
from medsimclr.report.comparison_table import Comparison

__all__ = ["comparison_figure"]

_POLICY_COLOUR = "#0b5394"
_BASELINE_COLOUR = "#777777"
_LOWER_IS_BETTER = {"readable"}


def comparison_figure(comparison: Comparison) -> Figure:
    """Draw every seed as a dot, the mean as a bar and its interval as a line."""
    figures, rows = comparison.figures(), comparison.rows
    figure = Figure(
        figsize=(2.2 + 2.5 * len(figures), 1.6 + 0.42 * len(rows)), layout="constrained"
    )
    panels = figure.subplots(1, len(figures), squeeze=False, sharey=True)[0]
    for axes, (name, title) in zip(panels, figures.items(), strict=True):
        for place, row in enumerate(rows):
            _draw(axes, comparison, row, name, place=place)
        better = "lower is better" if name in _LOWER_IS_BETTER else "higher is better"
        axes.set_title(f"{textwrap.fill(title, 24)}\n({better})", fontsize=9)
        axes.grid(axis="x", color="#e6e6e6")
        axes.set_axisbelow(True)
        axes.set_xlim(*_limits(comparison, name))
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelsize=8)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    panels[0].set_yticks(range(len(rows)), rows)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    figure.supxlabel(
        "Dots: seeds. Diamonds: their mean. Lines: its 95 % interval, which goes on where it "
        f"reaches the edge. {comparison.budget}; {len(comparison.seeds)} seed(s).",
        fontsize=8,
    )
    return figure


def _limits(comparison: Comparison, name: str) -> tuple[float, float]:
    """Return a range of all seeds: three make intervals so wide that seeds would crowd together."""
    values = [getattr(found[row], name) for found in comparison.seeds for row in comparison.rows]
    margin = max(0.02, 0.15 * (max(values) - min(values)))
    return max(0.0, min(values) - margin), min(1.01, max(values) + margin)


def _draw(axes: Axes, comparison: Comparison, row: str, name: str, *, place: int) -> None:
    interval = comparison.interval(row, name)
    if interval is None:
        return
    colour = _BASELINE_COLOUR if row in (RANDOM, COLOUR) else _POLICY_COLOUR
    if interval.low is not None and interval.high is not None:
        ends = [interval.low, interval.high]
        axes.plot(ends, [place, place], color=colour, linewidth=1.5, alpha=0.6)
    values = [getattr(found[row], name) for found in comparison.seeds]
    axes.plot(values, [place] * len(values), ".", color=colour, markersize=5)
    axes.plot(interval.mean, place, "D", color=colour, markersize=6)
