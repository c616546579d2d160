"""The picture of a suggestion: how the centres' stains differ, and what the strengths cover.

Colours are those of Okabe & Ito (2008), told apart by everybody.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from medsimclr.data.stain_groups import StainGroup
from medsimclr.report.policy_suggestion import PolicySuggestion
from medsimclr.report.reach_figure import percent

__all__ = ["suggestion_figure"]

_TILES_MAX = 8
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_GREY, _DEFAULT, _SUGGESTED = "#666666", "#000000", "#D55E00"
_Floats = NDArray[np.float64]


def suggestion_figure(suggestion: PolicySuggestion) -> Figure:
    """Draw a tile of every centre, palest first, their stains, and what each policy covers.

    Returns:
        A figure of its own (no pyplot state); save it with `figure.savefig(path)`.
    """
    kind = suggestion.groups.kind
    by_depth = sorted(suggestion.groups.groups, key=lambda group: group.amount_N3[:, 0].mean())
    places = np.linspace(0, len(by_depth) - 1, min(_TILES_MAX, len(by_depth))).round().astype(int)
    shown = [by_depth[place] for place in places]
    figure = Figure(figsize=(13.0, 8.2), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 1, height_ratios=[1, 2.3])
    top, bottom = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    is_few = len(by_depth) <= len(_COLOURS)
    label_of = {
        group.name: group.name[:16] if is_few else letter
        for group, letter in zip(shown, "abcdefgh", strict=False)
    }
    _tiles(top, shown, label_of)
    plane, bars = bottom.subplots(1, 2, width_ratios=[1.35, 1])
    _plane(plane, suggestion, label_of)
    _bars(bars, suggestion)
    which = "" if len(shown) == len(by_depth) else f"{len(shown)} of "
    top.suptitle(
        f"How {which}the {len(by_depth)} {kind}s are stained: a typical tile of each, "
        "least haematoxylin first",
        fontsize=13,
    )
    return figure


def _tiles(figure: SubFigure, shown: Sequence[StainGroup], label_of: Mapping[str, str]) -> None:
    for axes, group in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        away_N3 = group.amount_N3 - np.median(group.amount_N3, axis=0)
        axes.imshow(group.tiles_NVV3[(away_N3**2).sum(axis=1).argmin()])
        label, name = label_of[group.name], group.name[:16]
        axes.set_title(name if label == name else f"{label}:  {name}", fontsize=10)
        axes.set_axis_off()


def _plane(axes: Axes, suggestion: PolicySuggestion, label_of: Mapping[str, str]) -> None:
    """Draw every tile's and every group's stain, and the boxes that the strengths reach."""
    groups, kind = suggestion.groups.groups, suggestion.groups.kind
    typical_2 = np.mean([group.amount_N3[:, :2].mean(axis=0) for group in groups], axis=0)
    every_N2 = np.concatenate([group.amount_N3[:, :2] for group in groups])
    # A few outermost tiles may lie beyond the picture; the boxes never do.
    corners = [*np.percentile(every_N2, [1, 99], axis=0)]
    for number, group in enumerate(groups):
        colour = _COLOURS[number] if len(groups) <= len(_COLOURS) else _GREY
        _dots(axes, group, colour=colour, label=label_of.get(group.name))
    axes.plot(*typical_2, "+", markersize=15, color=_DEFAULT, zorder=5, label="typical staining")
    corners += _box(axes, typical_2, suggestion.default, what="as it is")
    if suggestion.suggested != suggestion.default:
        corners += _box(axes, typical_2, suggestion.suggested, what="as suggested")
    left, bottom = np.min(corners, axis=0) - 0.05
    right, top = np.max(corners, axis=0) + 0.05
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_xlabel("haematoxylin, mean optical density in tissue  (paler … darker)")
    axes.set_ylabel("eosin, mean optical density in tissue")
    axes.set_title(
        f"Large dots: the {kind}s; small dots: their tiles.\n"
        "Boxes: what a tile of typical staining can be turned into",
        fontsize=10,
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), fontsize=9)
    axes.grid(color="#e6e6e6")
    axes.set_axisbelow(True)


def _dots(axes: Axes, group: StainGroup, *, colour: str, label: str | None) -> None:
    haematoxylin_N, eosin_N, _ = group.amount_N3.T
    haematoxylin, eosin = float(haematoxylin_N.mean()), float(eosin_N.mean())
    axes.scatter(haematoxylin_N, eosin_N, s=8, color=colour, alpha=0.45, linewidths=0)
    axes.scatter(haematoxylin, eosin, s=70, color=colour, edgecolors="white", zorder=4)
    if label is not None:
        axes.annotate(
            label,
            (haematoxylin, eosin),
            xytext=(6, 5),
            textcoords="offset points",
            fontsize=11,
            zorder=5,
            bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.7, "lw": 0},
        )


def _box(
    axes: Axes, typical_2: _Floats, strengths: tuple[float, float], *, what: str
) -> tuple[_Floats, _Floats]:
    """Draw what gain * (amount + offset) makes of typical amounts; return its corners."""
    gain, offset = strengths
    ends = [
        factor * (typical_2 + by) for factor in (1 - gain, 1 + gain) for by in (-offset, offset)
    ]
    low_2, high_2 = np.min(ends, axis=0), np.max(ends, axis=0)
    is_default = what == "as it is"
    (left, bottom), (width, height) = low_2.tolist(), (high_2 - low_2).tolist()
    axes.add_patch(
        Rectangle(
            (left, bottom),
            width,
            height,
            fill=False,
            edgecolor=_DEFAULT if is_default else _SUGGESTED,
            linestyle="--" if is_default else "-",
            linewidth=2,
            zorder=3,
            label=f"stain_jitter {what}: gain 1 ± {gain:g}, offset ± {offset:g}",
        )
    )
    return low_2, high_2


def _bars(axes: Axes, suggestion: PolicySuggestion) -> None:
    kind, reaches = suggestion.groups.kind, suggestion.reaches
    for position, reach in enumerate(reaches):
        is_suggested = reach.what.endswith("as suggested")
        axes.barh(position, 100 * reach.covered, color=_SUGGESTED if is_suggested else _GREY)
        is_long = reach.covered > 0.85
        axes.text(
            100 * reach.covered + (-1 if is_long else 1),
            position,
            percent(reach.covered),
            ha="right" if is_long else "left",
            va="center",
            color="white" if is_long else "black",
            fontsize=11,
        )
    names = [
        f"{reach.what}\n({percent(reach.outside)} of the views: a stain that no {kind} has)"
        for reach in reaches
    ]
    axes.set_yticks(range(len(reaches)), names, fontsize=9)
    axes.set_xlim(0, 100)
    axes.set_ylim(len(reaches) - 0.4, -0.6)
    axes.set_xlabel(f"% of the other {kind}s' tiles")
    axes.set_title(
        f"How many tiles of the other {kind}s lie where 95 %\n"
        f"of one {kind}'s views do, by haematoxylin and eosin",
        fontsize=10,
    )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
