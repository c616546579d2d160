"""From a slide and a grid to tiles: which level is read, and by which of three ways.

copied    the slide's level is cut into JPEG tiles on the very grid asked: they are taken as they
          are, and no pixel is decoded
decoded   its JPEG tiles are decoded without OpenSlide, each once, at half their size where the
          scale asked is twice as coarse
region    the slide's reader is asked for each tile

The pixels of the second way are OpenSlide's, bit for bit, where nothing is resampled.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from medsimclr.slides.jpeg_levels import JpegLevel
from medsimclr.slides.jpeg_tiles import JpegTiles
from medsimclr.slides.scale import LevelChoice, Scale, choose_level
from medsimclr.slides.slide import Slide
from medsimclr.tiling.cut import Cut
from medsimclr.tiling.resample import area_resample, linear_resample

__all__ = ["ReadingPlan", "plan_reading", "read_tiles"]

Reading = Literal["copied", "decoded", "region"]


@dataclass(frozen=True, kw_only=True)
class ReadingPlan:
    """How the tiles of one slide are made."""

    choice: LevelChoice
    level0_px_per_px: float
    """Level-0 pixels per pixel of a tile."""
    tile_mpp: float
    """Scale of the tiles, um/px, within 0.5 % of the one asked."""
    reading: Reading
    reduction: int
    """What JPEG decoding alone shrinks by."""
    tile_px: int
    step_px: int

    @property
    def level_px_per_px(self) -> float:
        """Pixels of the level per pixel of a tile."""
        return self.choice.level_px_per_px

    @property
    def resampling(self) -> Literal["none", "area", "dct", "linear"]:
        """How pixels of the level become those of a tile."""
        return "dct" if self.reduction == 2 else self.choice.resampling


def plan_reading(
    slide: Slide,
    scale: Scale,
    jpeg_levels: dict[int, JpegLevel],
    *,
    cut: Cut,
) -> ReadingPlan:
    """Choose level and way.

    Args:
        slide: the open slide.
        scale: of its level 0.
        jpeg_levels: what `find_jpeg_levels` found; empty if the slide's reader must read.
        cut: scale and grid asked.

    Raises:
        SlideError: every level is more than 10 % coarser than asked.
    """
    level_mpps = [scale.mpp * downsample for downsample in slide.level_downsamples]
    choice = choose_level(level_mpps, target_mpp=cut.target_mpp)
    ratio = choice.level_px_per_px
    jpeg = jpeg_levels.get(choice.level)
    reading: Reading = "region" if jpeg is None else "decoded"
    if jpeg is not None and cut.may_copy and ratio == 1 and _is_same_grid(jpeg, cut):
        reading = "copied"
    reduction = 1
    # At a quarter and less libjpeg loses colour of 4:2:2 streams that area averaging keeps.
    if jpeg is not None and ratio == 2 and jpeg.tile_xy[0] % 2 == jpeg.tile_xy[1] % 2 == 0:
        reduction = 2
    return ReadingPlan(
        choice=choice,
        level0_px_per_px=ratio * slide.level_downsamples[choice.level],
        tile_mpp=ratio * choice.level_mpp,
        reading=reading,
        reduction=reduction,
        tile_px=cut.tile_px,
        step_px=cut.step_px,
    )


def _is_same_grid(jpeg: JpegLevel, cut: Cut) -> bool:
    return jpeg.tile_xy == (cut.tile_px, cut.tile_px) and cut.step_px % cut.tile_px == 0


def read_tiles(
    slide: Slide,
    plan: ReadingPlan,
    jpeg_level: JpegLevel | None,
    xy_N2: npt.NDArray[np.int64],
) -> Iterator[npt.NDArray[np.uint8] | bytes]:
    """Give the tiles at these corners of the tile frame, in order.

    Each is RGB uint8 (T, T, 3), good until the next one is asked for, or a JPEG stream.

    Raises:
        SlideError: pixels cannot be read or decoded.
    """
    if plan.reading == "region" or jpeg_level is None:
        for xy in xy_N2.tolist():
            yield _read_region(slide, plan, xy)
        return
    tiles = JpegTiles(slide.path, jpeg_level, reduction=plan.reduction)
    try:
        yield from _read_jpeg(slide, plan, tiles, xy_N2)
    finally:
        tiles.close()


def _read_jpeg(
    slide: Slide, plan: ReadingPlan, tiles: JpegTiles, xy_N2: npt.NDArray[np.int64]
) -> Iterator[npt.NDArray[np.uint8] | bytes]:
    tile_px = plan.tile_px
    scale = plan.level_px_per_px / plan.reduction
    is_once_each = tiles.tile_xy == (tile_px, tile_px) and plan.step_px % tile_px == 0
    tile_HW3 = np.empty((tile_px, tile_px, 3), np.uint8)
    for x, y in xy_N2.tolist():
        left, top, width, height = _enclosing(x, y, scale=scale, tile_px=tile_px)
        if left + width > tiles.size_xy[0] or top + height > tiles.size_xy[1]:
            # Beyond its edge a slide has a background colour, its JPEG tiles have padding.
            yield _read_region(slide, plan, (x, y))
        elif is_once_each and scale == 1:
            column, row = x // tile_px, y // tile_px
            stream = tiles.copy_stream(column, row) if plan.reading == "copied" else None
            if stream is not None:
                yield stream
                continue
            tiles.decode_into(column, row, tile_HW3)
            yield tile_HW3
        else:
            region = tiles.read(left, top, width=width, height=height)
            yield _resampled(region, (x * scale - left, y * scale - top), scale, tile_px)


def _read_region(slide: Slide, plan: ReadingPlan, xy: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Let the slide's reader read a tile, at the level-0 pixel that is nearest to its corner."""
    scale, tile_px = plan.level_px_per_px, plan.tile_px
    left, top, width, height = _enclosing(*xy, scale=scale, tile_px=tile_px)
    downsample = plan.level0_px_per_px / scale
    level0_xy = (math.floor(left * downsample + 0.5), math.floor(top * downsample + 0.5))
    region = slide.read_region(level0_xy, level=plan.choice.level, size_xy=(width, height))
    return _resampled(region, (xy[0] * scale - left, xy[1] * scale - top), scale, tile_px)


def _enclosing(x: int, y: int, *, scale: float, tile_px: int) -> tuple[int, int, int, int]:
    """Return left, top, width and height of the whole pixels that a tile touches."""
    if scale == 1:
        return x, y, tile_px, tile_px
    left, top = math.floor(x * scale), math.floor(y * scale)
    # Rounded first: 448.00000000000006 touches no pixel 448.
    right = math.ceil(round((x + tile_px) * scale, 6))
    bottom = math.ceil(round((y + tile_px) * scale, 6))
    return left, top, right - left, bottom - top


def _resampled(
    region_HW3: npt.NDArray[np.uint8], offset_xy: tuple[float, float], scale: float, tile_px: int
) -> npt.NDArray[np.uint8]:
    if scale == 1:
        return region_HW3
    how = area_resample if scale > 1 else linear_resample
    return how(region_HW3, offset_xy=offset_xy, scale=scale, tile_px=tile_px)
