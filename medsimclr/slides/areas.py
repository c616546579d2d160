"""What each pixel of a slide's thumbnail shows: tissue, pen ink, or nothing.

The mask that a tile store keeps. Where tissue and ink overlap the pixel is ink: its tissue cannot
be used.
"""

import numpy as np
from numpy.typing import NDArray

from medsimclr.slides import density, ink, tissue

__all__ = [
    "AREA_THRESHOLDS",
    "BLANK",
    "INK",
    "NEITHER",
    "TISSUE",
    "area_fraction",
    "find_areas",
]

NEITHER = 0
"""Specks, dust, shadows and black folds."""
TISSUE = 1
INK = 2
BLANK = 3


def _thresholds() -> dict[str, float]:
    """Collect every threshold by name, its unit last.

    Units: od, level (grey, 0..255), px, share, percentile, cores, channel (0 red, 1 green, 2 blue).
    """
    limits = {
        "glass_least_level": density.GLASS_LEAST_LEVEL,
        "glass_most_tint_level": density.GLASS_MOST_TINT,
        "glass_percentile": density.GLASS_PERCENTILE,
        "glass_absent_percentile": density.NO_GLASS_PERCENTILE,
        "glass_least_share": density.LEAST_GLASS_SHARE,
        "dark_ground_least_share": tissue.LEAST_DARK_SHARE,
        "dark_ground_most_glass_share": tissue.MOST_GLASS_SHARE,
        "dark_ground_percentile": tissue.GROUND_PERCENTILE,
        "dark_ground_most_level": tissue.DARK_GROUND_LEVEL,
        "black_most_level": tissue.BLACK_LEVEL,
        "padding_most_level": density.PADDING_LEVEL,
        "tissue_least_colour_od": tissue.LEAST_COLOUR_OD,
        "tissue_least_grey_od": tissue.LEAST_GREY_OD,
        "tissue_least_signal_level": tissue.LEAST_SIGNAL_LEVELS,
        "tissue_signal_blur_px": tissue.SIGNAL_BLUR_PX,
        "tissue_least_speck_px": tissue.LEAST_SPECK_PX,
        "tissue_colour_closing_px": tissue.COLOUR_CLOSING_PX,
        "tissue_signal_closing_px": tissue.SIGNAL_CLOSING_PX,
        "ink_picture_most_px": ink.MOST_PICTURE_PX,
        "ink_window_px": ink.WINDOW_PX,
        "ink_least_stroke_px": ink.LEAST_STROKE_PX,
        "ink_least_core_px": ink.LEAST_CORE_PX,
        "ink_most_cores": ink.MOST_CORES,
        "ink_fringe_px": ink.FRINGE_PX,
        "ink_most_variation_share": ink.MOST_VARIATION,
        "ink_least_stain_od": ink.LEAST_STAIN_OD,
        "ink_dye_of_stain_share": ink.DYE_SHARE_OF_STAIN,
        "ink_dye_of_colour_share": ink.DYE_SHARE_OF_COLOUR,
    }
    for pen in ink.PENS:
        limits |= {f"ink_{pen.name}_{name}": value for name, value in pen.limits().items()}
    return {name: float(value) for name, value in limits.items()}


AREA_THRESHOLDS: dict[str, float] = _thresholds()
"""Every threshold of `find_areas` by name, so that a store says how its mask was made."""


def find_areas(thumbnail_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the code of each pixel: TISSUE, INK, BLANK (bare glass or dark ground) or NEITHER.

    Args:
        thumbnail_HW3: RGB, best at 4 to 16 um/px, where nuclei blend into tissue.
    """
    thumbnail_HW3 = np.ascontiguousarray(thumbnail_HW3)
    if tissue.has_dark_ground(thumbnail_HW3):
        is_signal_HW = tissue.signal_mask(thumbnail_HW3)
        tissue_HW = tissue.joined(is_signal_HW, closing_px=tissue.SIGNAL_CLOSING_PX)
        return _codes(blank_HW=~is_signal_HW, tissue_HW=tissue_HW)
    glass_3 = density.glass_rgb(thumbnail_HW3)
    ink_HW = ink.ink_mask(thumbnail_HW3, glass_3=glass_3)
    stained_HW = tissue.stain_mask(thumbnail_HW3, glass_3=glass_3)
    tissue_HW = tissue.joined(stained_HW & ~ink_HW, closing_px=tissue.COLOUR_CLOSING_PX)
    level_HW = density.highest_channel(thumbnail_HW3)
    is_padding_HW = level_HW <= density.PADDING_LEVEL
    is_bare_HW = ~stained_HW & ((level_HW >= tissue.BLACK_LEVEL) | is_padding_HW)
    areas_HW = _codes(blank_HW=is_bare_HW, tissue_HW=tissue_HW)
    areas_HW[ink_HW] = INK
    return areas_HW


def _codes(*, blank_HW: NDArray[np.bool_], tissue_HW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return BLANK and, over it, TISSUE."""
    areas_HW = blank_HW.view(np.uint8) * np.uint8(BLANK)
    areas_HW[tissue_HW] = TISSUE
    return areas_HW


def area_fraction(
    areas_HW: NDArray[np.uint8], code: int, boxes_xyxy: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the share of each box that has a code, exact for edges between pixels.

    Args:
        areas_HW: Codes of `find_areas`.
        code: TISSUE, INK, BLANK or NEITHER; what lies beyond the picture has none.
        boxes_xyxy: (N, 4) left, top, right, bottom in pixels of areas_HW; positive areas.

    Returns:
        (N,) in 0..1.
    """
    return tissue.tissue_fraction(areas_HW == code, boxes_xyxy)
