"""The picture of a policy's reach: stains and colours of one centre's views beside other centres.

A row per centre: the plane of haematoxylin and eosin with the region where 95 % of its tiles and of
their views lie, and histograms of hue and saturation. With more than three centres, those from
which the policy reaches least, a middling share, and most.

Colours are those of Okabe & Ito (2008), told apart by everybody.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from medsimclr.augment.color_space import tissue_mask, to_space
from medsimclr.data.stain_groups import GroupKind
from medsimclr.data.stain_reach import StainReach, lost_note, mean_coverage, mean_outside

__all__ = ["percent", "reach_figure"]

_BEFORE, _AFTER, _OTHERS = "#000000", "#D55E00", "#0072B2"
_ROWS_MAX = 3
_GRID = 120
# Degrees from green on, as `color_space` counts them; the names are those of what is seen.
_HUES = {75: "cyan", 120: "blue", 165: "purple", 210: "pink", 240: "red", 285: "yellow"}
_GREY_SATURATION = 0.05
_Floats = NDArray[np.float64]


def reach_figure(reaches: Sequence[StainReach], *, policy: str, kind: GroupKind) -> Figure:
    """Draw how far a policy's views reach the stains of other centres.

    Args:
        reaches: one of every centre, patient or slide; two or more.
        policy: its name, for the title.
        kind: what the groups are.

    Returns:
        A figure of its own (no pyplot state); save it with `figure.savefig(path)`.
    """
    rows = _rows(reaches)
    figure = Figure(
        figsize=(13.0, 1.7 + 3.6 * len(rows)),
        layout=ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08),
        dpi=110,
    )
    FigureCanvasAgg(figure)
    axes_R3 = figure.subplots(len(rows), 3, squeeze=False, width_ratios=[1.25, 1, 1])
    limits = _limits(reaches)
    colours = [_colours(reach.group.tiles_NVV3) for reach in reaches]
    for (plane, hue, saturation), reach in zip(axes_R3, rows, strict=True):
        _plane(plane, reach, limits=limits, kind=kind)
        own = next(i for i, other in enumerate(reaches) if other is reach)
        others = colours[:own] + colours[own + 1 :]
        hues, saturations = zip(colours[own], _colours(reach.views_NVV3), *others, strict=True)
        _histogram(hue, hues, low=60.0, high=310.0)
        hue.set_xticks(list(_HUES), list(_HUES.values()))
        hue.set_xlabel("hue of the tissue, grey left out")
        _histogram(saturation, saturations, low=0.0, high=100.0)
        saturation.set_xlabel("saturation of the tissue, %  (0: grey)")
    before, after = mean_coverage(reaches)
    figure.suptitle(
        f"{policy}: do its views reach the stains of other {kind}s?\n"
        f"They cover {percent(after)} of the other {kind}s' tiles, the tiles themselves "
        f"{percent(before)} (means over {len(reaches)} {kind}s).\n"
        f"{percent(mean_outside(reaches))} of the views have a stain that no {kind} has."
        f"{f' {lost}' if (lost := lost_note(reaches)) else ''}",
        fontsize=13,
    )
    figure.legend(handles=_legend(kind), loc="outside lower center", ncols=5, fontsize=9)
    return figure


def percent(share: float) -> str:
    """Write a share for people."""
    return f"{100 * share:.0f} %"


def _rows(reaches: Sequence[StainReach]) -> list[StainReach]:
    if len(reaches) <= _ROWS_MAX:
        return list(reaches)
    by_share = sorted(reaches, key=lambda reach: reach.covered_after)
    return [by_share[0], by_share[len(by_share) // 2], by_share[-1]]


def _limits(reaches: Sequence[StainReach]) -> tuple[_Floats, _Floats]:
    """Return the corners of the plane, the same for every row."""
    every_N2 = np.concatenate(
        [amount_N3[:, :2] for r in reaches for amount_N3 in (r.group.amount_N3, r.view_amount_N3)]
    )
    low_2, high_2 = np.percentile(every_N2, [0.2, 99.8], axis=0)
    margin_2 = 0.12 * (high_2 - low_2) + 0.05
    return low_2 - margin_2, high_2 + margin_2


def _plane(
    axes: Axes, reach: StainReach, *, limits: tuple[_Floats, _Floats], kind: GroupKind
) -> None:
    low_2, high_2 = limits
    haematoxylin_G = np.linspace(low_2[0], high_2[0], _GRID)
    eosin_G = np.linspace(low_2[1], high_2[1], _GRID)
    point_M2 = np.stack(np.meshgrid(haematoxylin_G, eosin_G), axis=-1).reshape(-1, 2)
    other_N2 = reach.other_amount_N3[:, :2]
    is_covered_N = reach.is_covered_N
    for is_drawn_N, fill, alpha in ((is_covered_N, _OTHERS, 0.6), (~is_covered_N, "none", 1.0)):
        haematoxylin_N, eosin_N = other_N2[is_drawn_N].T
        axes.scatter(
            haematoxylin_N,
            eosin_N,
            s=14,
            facecolors=fill,
            edgecolors=_OTHERS,
            linewidths=0.8,
            alpha=alpha,
        )
    regions = ((reach.region_before, _BEFORE, "--"), (reach.region_after, _AFTER, "-"))
    for region, colour, line in regions:
        if region is None:
            continue
        density_GG = region.density(point_M2).reshape(_GRID, _GRID)
        axes.contour(
            haematoxylin_G,
            eosin_G,
            density_GG,
            levels=[region.least_density],
            colors=[colour],
            linestyles=[line],
            linewidths=2,
        )
    axes.set_xlim(low_2[0], high_2[0])
    axes.set_ylim(low_2[1], high_2[1])
    axes.set_xlabel("haematoxylin of a tile, optical density  (paler … darker)")
    axes.set_ylabel("eosin of a tile, optical density")
    axes.set_title(
        f"from {kind} {reach.group.name}: {percent(reach.covered_after)} covered, "
        f"{percent(reach.covered_before)} without the policy",
        fontsize=10,
    )
    axes.grid(color="#e6e6e6")
    axes.set_axisbelow(True)


def _colours(tiles_NVV3: NDArray[np.uint8]) -> tuple[_Floats, _Floats]:
    """Return hues, of what is not grey, and saturations of a sixteenth of the tissue's pixels."""
    found = [np.empty((0, 2))]
    for tile_VV3 in tiles_NVV3:
        sample_HW3 = np.ascontiguousarray(tile_VV3[::4, ::4])
        hsv_HW3 = to_space(sample_HW3, "hsv").astype(np.float64)
        found.append(hsv_HW3[tissue_mask(sample_HW3) > 0][:, :2])
    hue_M, saturation_M = np.concatenate(found).T
    return hue_M[saturation_M >= _GREY_SATURATION], 100.0 * saturation_M


def _histogram(axes: Axes, values: Sequence[_Floats], *, low: float, high: float) -> None:
    """Draw values of the tiles, of their views, and of every other group's tiles."""
    bins = np.linspace(low, high, 51)

    def shares(value_M: _Floats) -> _Floats:
        counts = np.histogram(np.clip(value_M, low, high), bins)[0]
        return np.asarray(100.0 * counts / max(1, counts.sum()))

    before, after, *others = values
    axes.stairs(shares(np.concatenate(others)), bins, fill=True, color=_OTHERS, alpha=0.3)
    axes.stairs(shares(before), bins, color=_BEFORE, linestyle="--", linewidth=2)
    axes.stairs(shares(after), bins, color=_AFTER, linewidth=2)
    axes.set_ylabel("share of the tissue, %")
    axes.set_xlim(low, high)
    axes.set_ylim(bottom=0)


def _legend(kind: GroupKind) -> list[Artist]:
    before, after = f"this {kind}: 95 % of its tiles", "95 % of their views under the policy"
    tiles = ((_OTHERS, f"tile of another {kind}: covered"), ("none", "not covered"))
    return [
        Line2D([], [], color=_BEFORE, linestyle="--", linewidth=2, label=before),
        Line2D([], [], color=_AFTER, linewidth=2, label=after),
        *[
            Line2D(
                [],
                [],
                linestyle="none",
                marker="o",
                markersize=5,
                markerfacecolor=fill,
                markeredgecolor=_OTHERS,
                label=label,
            )
            for fill, label in tiles
        ],
        Patch(color=_OTHERS, alpha=0.3, label=f"tissue of the other {kind}s"),
    ]
