"""A slide, its annotation and the probability of one class, side by side.

Frames: level0_xy are pixels of the slide at level 0 (x to the right, y down); all three panels are
drawn in that frame, so that they can be compared point by point.

Shapes: N tiles, H x W thumbnail pixels.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

__all__ = ["heatmap_figure"]

# Okabe and Ito's palette, distinct for colour-blind readers; it repeats after seven classes.
_CLASS_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442")
_UNLABELLED_COLOUR = "#bdbdbd"
_MIN_PANEL_INCHES, _PANEL_INCHES, _MAX_PANEL_INCHES = 2.5, 5.0, 8.0


def heatmap_figure(
    thumbnail_HW3: npt.NDArray[np.uint8],
    *,
    level0_xy_N2: npt.NDArray[np.int64],
    tile_level0_px: float,
    dimensions_level0_xy: tuple[int, int],
    probability_N: npt.NDArray[np.floating],
    label_N: npt.NDArray[np.integer],
    class_name: str,
    class_names: Sequence[str],
) -> Figure:
    """Draw the slide, the labelled tiles and the probability of one class.

    Args:
        thumbnail_HW3: RGB picture of the whole slide, at any size.
        level0_xy_N2: top-left corner of each tile, level-0 pixels.
        tile_level0_px: side of a tile, level-0 pixels.
        dimensions_level0_xy: width and height of the slide, level-0 pixels.
        probability_N: probability of class_name for each tile, 0 to 1.
        label_N: class of each tile; -1 where there is none.
        class_name: the class whose probability is drawn.
        class_names: names of all classes, in the order of the labels.

    Returns:
        A figure of its own (no pyplot state); save it with `figure.savefig(path)`.
    """
    n_tiles = len(level0_xy_N2)
    assert probability_N.shape == label_N.shape == (n_tiles,), (n_tiles, probability_N.shape)
    width, height = dimensions_level0_xy
    panel_height = float(
        np.clip(_PANEL_INCHES * height / width, _MIN_PANEL_INCHES, _MAX_PANEL_INCHES)
    )
    panel_width = float(np.clip(panel_height * width / height, _MIN_PANEL_INCHES, _PANEL_INCHES))
    text_height = 0.9 + 0.25 * len(np.unique(label_N))  # titles above, legend below
    figure = Figure(
        figsize=(3 * panel_width + 1.2, panel_height + text_height), layout="constrained", dpi=120
    )
    FigureCanvasAgg(figure)
    slide, annotation, heat = figure.subplots(1, 3)
    extent = (0.0, float(width), float(height), 0.0)
    slide.imshow(thumbnail_HW3, extent=extent)
    faded_HW3 = _faded(thumbnail_HW3)
    annotation.imshow(faded_HW3, extent=extent)
    heat.imshow(faded_HW3, extent=extent)
    squares_N42 = _squares(level0_xy_N2, tile_level0_px)
    _annotation(annotation, squares_N42, label_N, class_names)
    _heat(heat, squares_N42, probability_N, class_name)
    slide.set_title("Slide")
    slide.set_xlabel(f"{width:,} x {height:,} pixels\n{n_tiles:,} tiles")
    for axes in (slide, annotation, heat):
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def _annotation(
    axes: Axes,
    squares_N42: npt.NDArray[np.float64],
    label_N: npt.NDArray[np.integer],
    class_names: Sequence[str],
) -> None:
    """Colour the tiles by label, with a legend of the labels that occur."""
    entries = []
    for label in np.unique(label_N):
        chosen_N = label_N == label
        name = "no label" if label < 0 else class_names[label]
        colour = _UNLABELLED_COLOUR if label < 0 else _CLASS_COLOURS[label % len(_CLASS_COLOURS)]
        rgba = to_rgba(colour, 0.6 if label < 0 else 0.75)
        axes.add_collection(
            PolyCollection(list(squares_N42[chosen_N]), facecolors=[rgba], antialiased=False)
        )
        plural = "" if chosen_N.sum() == 1 else "s"
        entries.append(Patch(facecolor=rgba, label=f"{name} ({chosen_N.sum():,} tile{plural})"))
    axes.set_title("Annotation" if np.any(label_N >= 0) else "No annotation")
    if entries:
        # Below the panel: on the slide it would hide tissue.
        axes.legend(handles=entries, loc="upper center", bbox_to_anchor=(0.5, -0.02), frameon=False)


def _heat(
    axes: Axes,
    squares_N42: npt.NDArray[np.float64],
    probability_N: npt.NDArray[np.floating],
    class_name: str,
) -> None:
    """Colour the tiles by probability, on the fixed scale from 0 to 1 so that slides compare."""
    tiles = PolyCollection(
        list(squares_N42), array=probability_N, cmap="viridis", antialiased=False, alpha=0.7
    )
    tiles.set_clim(0, 1)
    axes.add_collection(tiles)
    axes.set_title(f"Predicted probability\nof {class_name}")
    beside = axes.inset_axes((1.02, 0.0, 0.04, 1.0))
    beside.figure.colorbar(tiles, cax=beside)


def _squares(level0_xy_N2: npt.NDArray[np.int64], tile_level0_px: float) -> npt.NDArray[np.float64]:
    """Return the corners of the tiles, clockwise from top left; level-0 pixels (N, 4, 2)."""
    corners_42 = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * tile_level0_px
    squares_N42: npt.NDArray[np.float64] = level0_xy_N2[:, None, :] + corners_42
    return squares_N42


def _faded(thumbnail_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the thumbnail in light grey, so that only the tiles have colour; 0 to 1."""
    grey_HW1 = thumbnail_HW3.mean(axis=2, keepdims=True) / 255
    return np.repeat(0.4 + 0.6 * grey_HW1, 3, axis=2)
