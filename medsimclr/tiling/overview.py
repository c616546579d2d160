"""A slide seen whole: its thumbnail, and where on it there is tissue, ink or nothing."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medsimclr.slides.areas import find_areas
from medsimclr.slides.jpeg_levels import JpegLevel
from medsimclr.slides.jpeg_tiles import REDUCTIONS, JpegTiles
from medsimclr.slides.pixels import area_average, fit_within
from medsimclr.slides.slide import Slide
from medsimclr.tiling.source import Alive

__all__ = ["Overview", "look_over", "read_thumbnail"]

# Nuclei blend into tissue at this scale; the bounds keep the mask useful and small.
_MASK_MPP = 8.0
_MASK_PX = (512, 2048)


@dataclass(frozen=True)
class Overview:
    """The whole slide at one small size."""

    thumbnail_HW3: npt.NDArray[np.uint8]
    areas_HW: npt.NDArray[np.uint8]
    """Codes of `areas`."""
    thumbnail_px_per_level0_px: tuple[float, float]
    """x, y."""


def look_over(
    slide: Slide, jpeg_levels: dict[int, JpegLevel], *, mpp: float, alive: Alive
) -> Overview:
    """Read the thumbnail from the coarsest level that suffices, and find its areas.

    Args:
        slide: the open slide.
        jpeg_levels: its levels that can be read without OpenSlide: a slide of one level alone would
            be decoded whole by it, and is here at an eighth.
        mpp: um per level-0 pixel.
        alive: called block by block.
    """
    longest_px = int(np.clip(max(slide.dimensions_xy) * mpp / _MASK_MPP, *_MASK_PX))
    target_xy = fit_within(slide.dimensions_xy, max_px=longest_px)
    thumbnail_HW3 = read_thumbnail(slide, jpeg_levels, target_xy=target_xy, alive=alive)
    return Overview(
        thumbnail_HW3=thumbnail_HW3,
        areas_HW=find_areas(thumbnail_HW3),
        thumbnail_px_per_level0_px=(
            target_xy[0] / slide.dimensions_xy[0],
            target_xy[1] / slide.dimensions_xy[1],
        ),
    )


def read_thumbnail(
    slide: Slide,
    jpeg_levels: dict[int, JpegLevel],
    *,
    target_xy: tuple[int, int],
    alive: Alive,
) -> npt.NDArray[np.uint8]:
    """Return the whole slide, area-averaged, block by block from the coarsest level that suffices.

    OpenSlide's own thumbnail reads its level whole, gigabytes where there is no pyramid, and
    resamples with Lanczos, which rings at tissue borders.

    Args:
        slide: the open slide.
        jpeg_levels: its levels that can be read without OpenSlide.
        target_xy: width and height asked, at most those of level 0.
        alive: called block by block.

    Returns:
        RGB uint8, (H, W, 3).
    """
    level = max(
        level
        for level, size_xy in enumerate(slide.level_dimensions_xy)
        if size_xy[0] >= target_xy[0] and size_xy[1] >= target_xy[1]
    )
    jpeg = jpeg_levels.get(level)
    if jpeg is not None:
        return _jpeg_thumbnail(slide, jpeg, target_xy=target_xy, alive=alive)
    downsample = slide.level_downsamples[level]

    def read_block(x: int, y: int, width: int, height: int) -> npt.NDArray[np.uint8]:
        alive()
        level0_xy = (round(x * downsample), round(y * downsample))
        return slide.read_region(level0_xy, level=level, size_xy=(width, height))

    size_xy = slide.level_dimensions_xy[level]
    return area_average(read_block, size_xy=size_xy, target_xy=target_xy)


def _jpeg_thumbnail(
    slide: Slide, jpeg: JpegLevel, *, target_xy: tuple[int, int], alive: Alive
) -> npt.NDArray[np.uint8]:
    reduction = max(
        r
        for r in REDUCTIONS
        if jpeg.tile_xy[0] % r == jpeg.tile_xy[1] % r == 0
        and jpeg.size_xy[0] // r >= target_xy[0]
        and jpeg.size_xy[1] // r >= target_xy[1]
    )
    tiles = JpegTiles(slide.path, jpeg, reduction=reduction)

    def read_block(x: int, y: int, width: int, height: int) -> npt.NDArray[np.uint8]:
        alive()
        return tiles.read(x, y, width=width, height=height)

    try:
        return area_average(read_block, size_xy=tiles.size_xy, target_xy=target_xy)
    finally:
        tiles.close()
