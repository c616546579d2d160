"""Pen ink on a slide: flat, dense strokes of colours that dyes do not have.

Colour is judged by the share of each channel in the optical density, which neither the amount of
ink nor the tissue's own amount of dye changes. Blue, teal and green pens absorb red more than
green, which no H&E does; red pens absorb blue nearly as much as green, eosin and blood less;
black pens absorb all alike. Texture: ink lies outside the focal plane and is flat over a few
pixels, while nuclei and fibres vary. Strokes are broad. From such cores ink grows into its paler
fringe.

What cannot be told apart: a purple pen from haematoxylin and a yellow one from saffron, so neither
is looked for; pale ink from pale dye, so a stroke must be dense; black mineral (von Kossa) or dense
pigment from a black pen, so broad flat patches of them count as ink. A dye of a pen's own colour
(Giemsa, methylene blue, aniline blue; AEC, fast red) is told by its weak and textured parts: where
they are common over the slide the colour is a dye there, and a pen of that colour is not found.
"""

from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from medsimclr.slides.density import PADDING_LEVEL, density_table, highest_channel

__all__ = [
    "DYE_SHARE_OF_COLOUR",
    "DYE_SHARE_OF_STAIN",
    "FRINGE_PX",
    "LEAST_CORE_PX",
    "LEAST_STAIN_OD",
    "LEAST_STROKE_PX",
    "MOST_CORES",
    "MOST_PICTURE_PX",
    "MOST_VARIATION",
    "PENS",
    "WINDOW_PX",
    "Pen",
    "ink_mask",
]


@dataclass(frozen=True, kw_only=True)
class Pen:
    """A group of pen colours, by each channel's share in the density of red, green and blue."""

    name: str
    least_core_od: float
    """Least density in the core of a stroke, summed over the channels."""
    least_fringe_od: float
    """Least density of the fringe, and of pixels that show the colour to be a dye; summed, too."""
    flat_channel: int
    """The channel that must be flat: pens absorb it most, and dyes under the pen least."""
    red_share: tuple[float, float]
    green_share: tuple[float, float]
    blue_share: tuple[float, float]
    least_red_over_green: float = -1.0
    """Least share of red less share of green."""
    least_blue_over_green: float = -1.0
    """Least share of blue less share of green."""

    def limits(self) -> dict[str, float]:
        """Return the numbers by name, the unit of each at its end."""
        return {
            "least_core_od": self.least_core_od,
            "least_fringe_od": self.least_fringe_od,
            "flat_channel": self.flat_channel,
            "least_red_share": self.red_share[0],
            "most_red_share": self.red_share[1],
            "least_green_share": self.green_share[0],
            "most_green_share": self.green_share[1],
            "least_blue_share": self.blue_share[0],
            "most_blue_share": self.blue_share[1],
            "least_red_over_green_share": self.least_red_over_green,
            "least_blue_over_green_share": self.least_blue_over_green,
        }


# Chosen here. Of the flat pixels of H&E (1,000 tiles of LC25000 and BreakHis, the slides of TCGA,
# CAMELYON and Aperio, HistoPrep's) at most 50 in a million pass each row before the limits on area.
PENS = (
    Pen(
        name="blue_or_green",
        least_core_od=0.6,
        least_fringe_od=0.15,
        flat_channel=0,
        red_share=(0.36, 1.0),
        green_share=(0.0, 1.0),
        blue_share=(0.0, 1.0),
        least_red_over_green=0.04,
    ),
    # Told from blue, so that it is found where a blue dye is.
    Pen(
        name="green",
        least_core_od=0.6,
        least_fringe_od=0.15,
        flat_channel=0,
        red_share=(0.36, 1.0),
        green_share=(0.0, 1.0),
        blue_share=(0.0, 1.0),
        least_red_over_green=0.04,
        least_blue_over_green=-0.04,
    ),
    # Tissue under the pen absorbs green; at this density no haematoxylin is as blue.
    Pen(
        name="dark_blue",
        least_core_od=1.4,
        least_fringe_od=0.5,
        flat_channel=0,
        red_share=(0.33, 1.0),
        green_share=(0.0, 0.44),
        blue_share=(0.0, 0.27),
    ),
    Pen(
        name="red",
        least_core_od=1.1,
        least_fringe_od=0.15,
        flat_channel=1,
        red_share=(0.0, 0.18),
        green_share=(0.0, 1.0),
        blue_share=(0.35, 0.5),
    ),
    Pen(
        name="black",
        least_core_od=1.6,
        least_fringe_od=0.4,
        flat_channel=0,
        red_share=(0.295, 0.40),
        green_share=(0.28, 0.40),
        blue_share=(0.25, 0.40),
    ),
)
MOST_VARIATION = 0.15
"""Most standard deviation over mean of the density, within 5 x 5 pixels, of a core."""
LEAST_STROKE_PX = 5
"""Least breadth of a core."""
LEAST_CORE_PX = 30
"""Least area of a core."""
FRINGE_PX = 16
"""Farthest from a core that its fringe reaches."""
DYE_SHARE_OF_STAIN = 0.25
DYE_SHARE_OF_COLOUR = 0.35
"""A colour is a dye of the slide where its pixels away from flat cores are more than these shares
of all stained pixels and of all pixels of the colour."""

MOST_CORES = 40
"""More cores of one colour than this are stained cells, seen from too near."""

MOST_PICTURE_PX = 800
"""Ink is broad: it is looked for in a picture of at most this side, in whose pixels all is said."""
WINDOW_PX = 5
"""Side of the window in which density is averaged and its variation taken."""
LEAST_STAIN_OD = 0.15
"""Least density, summed over the channels, of a pixel that counts in the shares of a dye."""


def ink_mask(rgb_HW3: NDArray[np.uint8], *, glass_3: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where a brightfield thumbnail shows pen ink.

    Args:
        rgb_HW3: Contiguous RGB, best at 4 to 16 um/px.
        glass_3: Colour of bare glass, grey levels.
    """
    height, width = rgb_HW3.shape[:2]
    factor = ceil(max(height, width) / MOST_PICTURE_PX)
    size_xy = (max(width // factor, 1), max(height // factor, 1))
    small_HW3 = np.asarray(cv2.resize(rgb_HW3, size_xy, interpolation=cv2.INTER_AREA), np.uint8)
    table_256 = np.maximum(density_table(glass_3), 0)
    density_3HW = [
        np.asarray(cv2.LUT(level_HW, np.ascontiguousarray(table_256[:, channel])), np.float32)
        for channel, level_HW in enumerate(cv2.split(small_HW3))
    ]
    is_padding_HW = highest_channel(small_HW3) <= PADDING_LEVEL
    for density_HW in density_3HW:
        density_HW[is_padding_HW] = 0  # else a black pen
    mean_3HW = [_window_mean(density_HW) for density_HW in density_3HW]
    ink_HW = np.zeros(small_HW3.shape[:2], np.bool_)
    for pen in PENS:
        ink_HW |= _strokes(pen, density_3HW[pen.flat_channel], mean_3HW)
    whole_HW = cv2.resize(ink_HW.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(whole_HW, np.bool_)


def _strokes(
    pen: Pen, density_HW: NDArray[np.float32], mean_3HW: list[NDArray[np.float32]]
) -> NDArray[np.bool_]:
    """Return where there is ink of one pen; nowhere if its colour is a dye of the slide."""
    total_HW = mean_3HW[0] + mean_3HW[1] + mean_3HW[2]
    is_coloured_HW = _has_colour(pen, mean_3HW, total_HW)
    core_HW = _broad(
        is_coloured_HW
        & (total_HW > pen.least_core_od)
        & _is_flat(density_HW, mean_3HW[pen.flat_channel])
    )
    if not core_HW.any():
        return core_HW.view(np.bool_)
    distance_HW = cv2.distanceTransform(1 - core_HW, cv2.DIST_L2, 3)
    fringe_HW = is_coloured_HW & (distance_HW <= FRINGE_PX)
    ink_HW = core_HW.view(np.bool_) | fringe_HW
    if _is_dye(is_coloured_HW & ~ink_HW, ink_HW, total_HW):
        return np.zeros_like(ink_HW)
    kernel_KK = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (LEAST_STROKE_PX,) * 2)
    return np.asarray(cv2.morphologyEx(ink_HW.view(np.uint8), cv2.MORPH_CLOSE, kernel_KK), np.bool_)


def _has_colour(
    pen: Pen, mean_3HW: list[NDArray[np.float32]], total_HW: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Return where the shares of the channels are the pen's, at the density of a fringe or more."""
    is_coloured_HW = total_HW > pen.least_fringe_od
    shares = (pen.red_share, pen.green_share, pen.blue_share)
    for mean_HW, (least, most) in zip(mean_3HW, shares, strict=True):
        is_coloured_HW &= (mean_HW >= least * total_HW) & (mean_HW <= most * total_HW)
    is_coloured_HW &= mean_3HW[0] - mean_3HW[1] >= pen.least_red_over_green * total_HW
    is_coloured_HW &= mean_3HW[2] - mean_3HW[1] >= pen.least_blue_over_green * total_HW
    return is_coloured_HW


def _is_flat(density_HW: NDArray[np.float32], mean_HW: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where the deviation within a window is small beside the mean."""
    variance_HW = _window_mean(np.square(density_HW)) - mean_HW * mean_HW
    return np.asarray(variance_HW <= (MOST_VARIATION * mean_HW) ** 2)


def _broad(mask_HW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the mask without what is narrow or small; nothing where too many pieces are left."""
    kernel_KK = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (LEAST_STROKE_PX,) * 2)
    opened_HW = cv2.morphologyEx(mask_HW.view(np.uint8), cv2.MORPH_OPEN, kernel_KK)
    if not opened_HW.any():
        return np.asarray(opened_HW, np.uint8)
    _, label_HW, stats, _ = cv2.connectedComponentsWithStats(opened_HW)
    is_kept = (stats[:, cv2.CC_STAT_AREA] >= LEAST_CORE_PX).astype(np.uint8)
    is_kept[0] = 0  # the background
    if np.count_nonzero(is_kept) > MOST_CORES:
        is_kept[:] = 0
    return np.asarray(is_kept.take(np.asarray(label_HW)), np.uint8)


def _is_dye(
    elsewhere_HW: NDArray[np.bool_], ink_HW: NDArray[np.bool_], total_HW: NDArray[np.float32]
) -> bool:
    """Tell whether the colour is common outside the strokes, too."""
    n_elsewhere = int(np.count_nonzero(elsewhere_HW))
    n_stained = int(np.count_nonzero((total_HW > LEAST_STAIN_OD) & ~ink_HW))
    n_coloured = n_elsewhere + int(np.count_nonzero(ink_HW))
    return (
        n_elsewhere > DYE_SHARE_OF_STAIN * n_stained
        and n_elsewhere > DYE_SHARE_OF_COLOUR * n_coloured
    )


def _window_mean(density_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.blur(density_HW, (WINDOW_PX, WINDOW_PX)), np.float32)
