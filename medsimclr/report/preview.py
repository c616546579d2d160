"""What tiling kept of a slide: its tissue mask and its tiles.

Frames: level0_xy are pixels of the slide at level 0 (x to the right, y down); both panels are drawn
in that frame.

Shapes: N tiles; thumbnail and mask are each H x W pixels, at sizes of their own.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

__all__ = ["preview_figure"]

# Okabe and Ito's palette as in the heat map, so that a class keeps its colour between pictures.
_CLASS_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442")
_UNLABELLED_COLOUR = "#808080"
_OUTLINE_COLOUR, _OUTLINE_ON_DARK = "#111111", "#ffcc00"
_DARK_GREY_LEVEL = 64
_FILL_OPACITY = 0.38
_MIN_PANEL_INCHES, _PANEL_INCHES, _MAX_PANEL_INCHES = 2.5, 5.0, 8.0


def preview_figure(
    thumbnail_HW3: npt.NDArray[np.uint8],
    *,
    mask_HW: npt.NDArray[np.bool_],
    level0_xy_N2: npt.NDArray[np.int64],
    tile_level0_px: float,
    dimensions_level0_xy: tuple[int, int],
    label_N: npt.NDArray[np.integer],
    class_names: Sequence[str],
) -> Figure:
    """Draw the slide, and beside it the outline of its tissue and the tiles cut from it.

    Args:
        thumbnail_HW3: RGB picture of the whole slide, at any size.
        mask_HW: True where there is tissue; the whole slide, at any size.
        level0_xy_N2: top-left corner of each tile, level-0 pixels.
        tile_level0_px: side of a tile, level-0 pixels.
        dimensions_level0_xy: width and height of the slide, level-0 pixels.
        label_N: class of each tile; -1 where there is none.
        class_names: names of all classes, in the order of the labels.

    Returns:
        A figure of its own (no pyplot state); save it with `figure.savefig(path)`.
    """
    n_tiles = len(level0_xy_N2)
    assert label_N.shape == (n_tiles,), (label_N.shape, n_tiles)
    width, height = dimensions_level0_xy
    panel_height = float(
        np.clip(_PANEL_INCHES * height / width, _MIN_PANEL_INCHES, _MAX_PANEL_INCHES)
    )
    panel_width = float(np.clip(panel_height * width / height, _MIN_PANEL_INCHES, _PANEL_INCHES))
    figure = Figure(
        figsize=(2 * panel_width + 0.4, panel_height + 1.2), layout="constrained", dpi=120
    )
    FigureCanvasAgg(figure)
    slide, tiling = figure.subplots(1, 2)
    for axes in (slide, tiling):
        axes.imshow(thumbnail_HW3, extent=(0.0, float(width), float(height), 0.0))
    entries = _tiles(tiling, level0_xy_N2, tile_level0_px, label_N, class_names)
    is_dark = thumbnail_HW3.mean() < _DARK_GREY_LEVEL
    colour = _OUTLINE_ON_DARK if is_dark else _OUTLINE_COLOUR
    _outline(tiling, mask_HW, dimensions_level0_xy, colour=colour)
    entries.append(Line2D([], [], color=colour, linewidth=1.2, label="tissue outline"))
    # Below the panel: on the slide it would hide tissue.
    tiling.legend(
        handles=entries, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2, frameon=False
    )
    slide.set_title(f"Slide, {width:,} x {height:,} pixels")
    plural = "" if n_tiles == 1 else "s"
    tiling.set_title(
        f"{n_tiles:,} tissue tile{plural}; {mask_HW.mean():.0%} of the slide is tissue"
    )
    for axes in (slide, tiling):
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def _tiles(
    axes: Axes,
    level0_xy_N2: npt.NDArray[np.int64],
    tile_level0_px: float,
    label_N: npt.NDArray[np.integer],
    class_names: Sequence[str],
) -> list[Patch | Line2D]:
    """Draw the tiles, coloured by label, and return the legend of the labels that occur."""
    corners_42 = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * tile_level0_px
    square_N42 = level0_xy_N2[:, None, :] + corners_42
    # With thousands of tiles full lines would bury the slide.
    linewidth = float(np.clip(12 / np.sqrt(max(len(square_N42), 1)), 0.15, 1.0))
    entries: list[Patch | Line2D] = []
    for label in np.unique(label_N):
        is_chosen_N = label_N == label
        name = "no label" if label < 0 else class_names[label]
        colour = _UNLABELLED_COLOUR if label < 0 else _CLASS_COLOURS[label % len(_CLASS_COLOURS)]
        fill = to_rgba(colour, 0.15 if label < 0 else _FILL_OPACITY)
        axes.add_collection(
            PolyCollection(
                list(square_N42[is_chosen_N]),
                facecolors=[fill],
                edgecolors=[to_rgba(colour)],
                linewidths=linewidth,
            )
        )
        count = int(is_chosen_N.sum())
        plural = "" if count == 1 else "s"
        entries.append(
            Patch(facecolor=fill, edgecolor=colour, label=f"{name} ({count:,} tile{plural})")
        )
    return entries


def _outline(
    axes: Axes,
    mask_HW: npt.NDArray[np.bool_],
    dimensions_level0_xy: tuple[int, int],
    *,
    colour: str,
) -> None:
    """Draw the border of the tissue; glass around the slide closes it at the edges."""
    if not mask_HW.any():
        return
    (rows, columns), (width, height) = mask_HW.shape, dimensions_level0_xy
    padded = np.pad(mask_HW, 1).astype(np.float64)
    # Mask pixel i covers i to i + 1, so its value stands at i + 0.5; padding adds one on each side.
    x = np.clip((np.arange(columns + 2) - 0.5) / columns, 0, 1) * width
    y = np.clip((np.arange(rows + 2) - 0.5) / rows, 0, 1) * height
    axes.contour(x, y, padded, levels=[0.5], colors=[colour], linewidths=1.2)
