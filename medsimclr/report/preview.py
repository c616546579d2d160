"""What tiling made of a slide: its tissue and ink, the tiles kept and the places left out.

Frames: level0_xy are pixels of the slide at level 0 (x to the right, y down); both panels are drawn
in that frame.

Shapes: N tiles kept, M left out; thumbnail and areas are each H x W pixels, at sizes of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import cast

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from medsimclr.slides.areas import INK, TISSUE

__all__ = ["preview_figure"]

# Okabe and Ito's palette as in the heat map, so that a class keeps its colour between pictures.
_CLASS_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442")
_UNLABELLED_COLOUR, _UNLABELLED_ON_DARK = "#404040", "#c0c0c0"
# None of the classes' colours. Places without tissue, mostly the greater part, are veiled.
_VEIL_COLOUR, _VEIL_EDGE = "#ffffff", "#b4b4b4"
_REASON_COLOURS = ("#e6007e", "#6a51a3", "#8c510a")
_TISSUE_COLOUR, _TISSUE_ON_DARK, _INK_COLOUR = "#111111", "#ffcc00", "#e6007e"
_DARK_GREY_LEVEL = 64
_LABEL_OPACITY, _UNLABELLED_OPACITY, _REASON_OPACITY = 0.38, 0.06, 0.5
_VEIL_OPACITY, _VEIL_ON_DARK = 0.5, 0.2
_MIN_PANEL_INCHES, _PANEL_INCHES, _MAX_PANEL_INCHES = 2.5, 5.0, 8.0
_TITLE_INCHES, _LEGEND_ROW_INCHES = 1.3, 0.29
_DPI = 120
_OUTLINE_POINTS = 1.0
# Lines around squares smaller than this would bury the slide; only their fill is drawn.
_LEAST_OUTLINED_PX = 4.0


_Rgba = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class _Squares:
    """Tiles of one label, or places left out for one reason."""

    name: str
    level0_xy_K2: npt.NDArray[np.int64]
    fill: _Rgba
    edge: str


def preview_figure(
    thumbnail_HW3: npt.NDArray[np.uint8],
    *,
    areas_HW: npt.NDArray[np.uint8],
    level0_xy_N2: npt.NDArray[np.int64],
    tile_level0_px: float,
    dimensions_level0_xy: tuple[int, int],
    label_N: npt.NDArray[np.integer],
    class_names: Sequence[str],
    left_out_level0_xy_M2: npt.NDArray[np.int64],
    left_out_reason_M: npt.NDArray[np.integer],
    reason_names: Sequence[str],
) -> Figure:
    """Draw the slide, and beside it the outlines of tissue and ink and the grid of tiles.

    Tiles that were kept have the colour of their label, places left out that of the reason; those
    left out for the first reason are veiled.

    Args:
        thumbnail_HW3: RGB picture of the whole slide, at any size.
        areas_HW: codes of `medsimclr.slides.areas`; the whole slide, at any size.
        level0_xy_N2: top-left corner of each tile kept, level-0 pixels.
        tile_level0_px: side of a tile, level-0 pixels.
        dimensions_level0_xy: width and height of the slide, level-0 pixels.
        label_N: class of each tile kept; -1 where there is none.
        class_names: names of all classes, in the order of the labels.
        left_out_level0_xy_M2: top-left corner of each tile left out, level-0 pixels.
        left_out_reason_M: index of the reason of each tile left out.
        reason_names: names of all reasons, as the legend shows them.

    Returns:
        A figure of its own (no pyplot state); save it with `figure.savefig(path)`.
    """
    n_tiles, n_left_out = len(level0_xy_N2), len(left_out_level0_xy_M2)
    assert label_N.shape == (n_tiles,), (label_N.shape, n_tiles)
    assert left_out_reason_M.shape == (n_left_out,), (left_out_reason_M.shape, n_left_out)
    figure, slide, tiling = _panels(dimensions_level0_xy)
    for axes in (slide, tiling):
        _show_slide(axes, thumbnail_HW3, dimensions_level0_xy)
    is_dark = bool(thumbnail_HW3.mean() < _DARK_GREY_LEVEL)
    kept = _kept(level0_xy_N2, label_N, class_names, is_dark=is_dark)
    left_out = _left_out(left_out_level0_xy_M2, left_out_reason_M, reason_names, is_dark=is_dark)
    drawn_px = tile_level0_px * _panel_inches(dimensions_level0_xy)[0] * _DPI
    drawn_px /= dimensions_level0_xy[0]
    # The rarest last: where edges meet, they must not be covered.
    for squares in sorted(kept + left_out, key=lambda squares: -len(squares.level0_xy_K2)):
        _draw(tiling, squares, tile_level0_px=tile_level0_px, drawn_px=drawn_px)
    entries: list[Artist] = [_legend_patch(squares, is_dark=is_dark) for squares in kept + left_out]
    tissue_colour = _TISSUE_ON_DARK if is_dark else _TISSUE_COLOUR
    for code, name, colour in ((TISSUE, "tissue", tissue_colour), (INK, "ink", _INK_COLOUR)):
        if _outline(tiling, areas_HW == code, dimensions_level0_xy, colour=colour):
            entries.append(Line2D([], [], color=colour, label=f"{name} outline"))
    if entries:
        _add_legend(figure, tiling, entries)
    slide.set_title("Slide, {:,} x {:,} pixels".format(*dimensions_level0_xy))
    tiling.set_title(_title(n_tiles, n_left_out, areas_HW))
    return figure


def _panels(dimensions_level0_xy: tuple[int, int]) -> tuple[Figure, Axes, Axes]:
    """Make a figure of two panels of the slide's shape."""
    panel_width, panel_height = _panel_inches(dimensions_level0_xy)
    size = (2 * panel_width + 0.4, panel_height + _TITLE_INCHES)
    figure = Figure(figsize=size, layout="constrained", dpi=_DPI)
    FigureCanvasAgg(figure)
    slide, tiling = figure.subplots(1, 2)
    return figure, slide, tiling


def _panel_inches(dimensions_level0_xy: tuple[int, int]) -> tuple[float, float]:
    """Return width and height of a panel; of a narrow slide it leaves some of them free."""
    width, height = dimensions_level0_xy
    panel_height = np.clip(_PANEL_INCHES * height / width, _MIN_PANEL_INCHES, _MAX_PANEL_INCHES)
    panel_width = np.clip(panel_height * width / height, _MIN_PANEL_INCHES, _PANEL_INCHES)
    return float(panel_width), float(panel_height)


def _add_legend(figure: Figure, axes: Axes, entries: list[Artist]) -> None:
    """Add a legend below a panel, where it hides no tissue, and make room for it."""
    n_rows = ceil(len(entries) / 2)
    figure.set_figheight(figure.get_figheight() + n_rows * _LEGEND_ROW_INCHES)
    axes.legend(
        handles=entries, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2, frameon=False
    )


def _show_slide(
    axes: Axes, thumbnail_HW3: npt.NDArray[np.uint8], dimensions_level0_xy: tuple[int, int]
) -> None:
    width, height = dimensions_level0_xy
    axes.imshow(thumbnail_HW3, extent=(0.0, float(width), float(height), 0.0))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    # Else every collection added below looks for new limits over all its squares.
    axes.set_autoscale_on(False)


def _title(n_tiles: int, n_left_out: int, areas_HW: npt.NDArray[np.uint8]) -> str:
    plural = "" if n_tiles == 1 else "s"
    left_out = f", {n_left_out:,} left out" if n_left_out else ""
    is_ink_HW = areas_HW == INK
    ink = f", {is_ink_HW.mean():.1%} ink" if is_ink_HW.any() else ""
    return (
        f"{n_tiles:,} tile{plural} kept{left_out}\n"
        f"{(areas_HW == TISSUE).mean():.0%} of the slide is tissue{ink}"
    )


def _kept(
    level0_xy_N2: npt.NDArray[np.int64],
    label_N: npt.NDArray[np.integer],
    class_names: Sequence[str],
    *,
    is_dark: bool,
) -> list[_Squares]:
    """Return the tiles of each label that occurs."""
    groups = []
    for label in np.unique(label_N):
        if label < 0:
            name, opacity = "no label", _UNLABELLED_OPACITY
            colour = _UNLABELLED_ON_DARK if is_dark else _UNLABELLED_COLOUR
        else:
            name, opacity = class_names[label], _LABEL_OPACITY
            colour = _CLASS_COLOURS[label % len(_CLASS_COLOURS)]
        chosen_xy = level0_xy_N2[label_N == label]
        plural = "" if len(chosen_xy) == 1 else "s"
        groups.append(
            _Squares(
                name=f"{name} ({len(chosen_xy):,} tile{plural})",
                level0_xy_K2=chosen_xy,
                fill=to_rgba(colour, opacity),
                edge=colour,
            )
        )
    return groups


def _left_out(
    level0_xy_M2: npt.NDArray[np.int64],
    reason_M: npt.NDArray[np.integer],
    reason_names: Sequence[str],
    *,
    is_dark: bool,
) -> list[_Squares]:
    """Return the places left out for each reason that occurs; the first reason is veiled."""
    groups = []
    for reason in np.unique(reason_M):
        if reason == 0:
            edge = _VEIL_EDGE
            fill = to_rgba(_VEIL_COLOUR, _VEIL_ON_DARK if is_dark else _VEIL_OPACITY)
        else:
            edge = _REASON_COLOURS[(reason - 1) % len(_REASON_COLOURS)]
            fill = to_rgba(edge, _REASON_OPACITY)
        chosen_xy = level0_xy_M2[reason_M == reason]
        name = f"left out: {reason_names[reason]} ({len(chosen_xy):,})"
        groups.append(_Squares(name=name, level0_xy_K2=chosen_xy, fill=fill, edge=edge))
    return groups


def _legend_patch(squares: _Squares, *, is_dark: bool) -> Patch:
    """Return a patch as the squares look on glass, or on a dark ground."""
    *rgb, opacity = squares.fill
    ground = 0.0 if is_dark else 1.0
    red, green, blue = (opacity * level + (1 - opacity) * ground for level in rgb)
    return Patch(facecolor=(red, green, blue), edgecolor=squares.edge, label=squares.name)


def _draw(axes: Axes, squares: _Squares, *, tile_level0_px: float, drawn_px: float) -> None:
    """Add squares, with lines around them where there is room."""
    corners_42 = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * tile_level0_px
    is_outlined = drawn_px >= _LEAST_OUTLINED_PX
    collection = PolyCollection(
        # Matplotlib takes an array four times as fast as a list of squares.
        cast(Sequence[npt.ArrayLike], squares.level0_xy_K2[:, None, :] + corners_42),
        facecolors=[squares.fill],
        edgecolors=squares.edge if is_outlined else "none",
        linewidths=float(np.clip(drawn_px / 25, 0.25, 0.8)),
        antialiaseds=is_outlined,
    )
    axes.add_collection(collection, autolim=False)


def _outline(
    axes: Axes,
    mask_HW: npt.NDArray[np.bool_],
    dimensions_level0_xy: tuple[int, int],
    *,
    colour: str,
) -> bool:
    """Draw the border of a mask, if there is any; glass around the slide closes it at the edges."""
    if not mask_HW.any():
        return False
    (rows, columns), (width, height) = mask_HW.shape, dimensions_level0_xy
    padded = np.pad(mask_HW, 1).astype(np.float64)
    # Mask pixel i covers i to i + 1, so its value stands at i + 0.5; padding adds one on each side.
    x = np.clip((np.arange(columns + 2) - 0.5) / columns, 0, 1) * width
    y = np.clip((np.arange(rows + 2) - 0.5) / rows, 0, 1) * height
    axes.contour(x, y, padded, levels=[0.5], colors=[colour], linewidths=_OUTLINE_POINTS)
    return True
