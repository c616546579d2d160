"""The thumbnail of a slide by area-averaging the coarsest of its levels that suffices."""

import numpy as np
from numpy.typing import NDArray

from medsimclr.slides.pixels import area_average, fit_within
from medsimclr.slides.slide import Slide

__all__ = ["level_thumbnail"]


def level_thumbnail(slide: Slide, *, max_px: int) -> NDArray[np.uint8]:
    """Return the whole slide as (H, W, 3) RGB, its longer side at most max_px; see Slide.

    The level is read block by block, so that none ever lies whole in memory.
    """
    target_xy = fit_within(slide.dimensions_xy, max_px=max_px)
    level = max(
        level
        for level, size_xy in enumerate(slide.level_dimensions_xy)
        if size_xy[0] >= target_xy[0] and size_xy[1] >= target_xy[1]
    )
    downsample = slide.level_downsamples[level]

    def read_block(x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        level0_xy = (round(x * downsample), round(y * downsample))
        return slide.read_region(level0_xy, level=level, size_xy=(width, height))

    return area_average(read_block, size_xy=slide.level_dimensions_xy[level], target_xy=target_xy)
