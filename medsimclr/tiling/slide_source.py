"""Tiles of one whole-slide image."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsimclr.files.checksum import sha256_of_file, sha256_of_value
from medsimclr.slides.annotations import class_coverage, read_geojson
from medsimclr.slides.opening import open_slide, slide_id_of
from medsimclr.slides.scale import LevelChoice, Scale, choose_level, resolve_mpp
from medsimclr.slides.slide import Slide
from medsimclr.slides.tissue import tissue_fraction, tissue_mask
from medsimclr.tiling.grid import boxes_xyxy, grid_level0_xy
from medsimclr.tiling.source import SlideTiles, batched, fingerprint, labels_of, no_tiles

__all__ = ["SlideSource"]

# The mask has about this scale, within bounds that keep it useful and small.
_MASK_MPP = 4.0
_MASK_PX = (512, 2048)


@dataclass(frozen=True, kw_only=True)
class SlideSource:
    """A whole-slide image, its annotation and its row of slides.csv."""

    path: Path
    target_mpp: float
    tile_px: int
    min_tissue: float
    min_coverage: float
    classes: tuple[str, ...]
    source_mpp: float | None = None
    annotation: Path | None = None
    patient: str | None = None
    centre: str | None = None
    is_isolated: bool = True

    @property
    def slide_id(self) -> str:
        """Name of the slide in the store."""
        return slide_id_of(self.path)

    def inputs(self) -> dict[str, str]:
        """Return digests of the slide and its annotation, and what slides.csv says of it."""
        digests = fingerprint(self.path)
        digests["row"] = sha256_of_value([self.patient, self.centre])
        if self.annotation is not None:
            digests["annotation"] = sha256_of_file(self.annotation)
        if self.source_mpp is not None:
            digests["given_mpp"] = repr(self.source_mpp)
        return digests

    def open(self) -> SlideTiles:
        """Open the slide, choose its level and tiles; see `TileSource`."""
        slide = open_slide(self.path)
        scale = resolve_mpp(slide.mpp_xy, slide.mpp_source, override_mpp=self.source_mpp)
        level_mpps = [scale.mpp * downsample for downsample in slide.level_downsamples]
        choice = choose_level(level_mpps, target_mpp=self.target_mpp)
        if choice.resampling == "none":
            tile_level0_px = self.tile_px * slide.level_downsamples[choice.level]
        else:
            tile_level0_px = self.tile_px * self.target_mpp / scale.mpp
        level0_xy = grid_level0_xy(slide.dimensions_xy, tile_level0_px=tile_level0_px)
        if len(level0_xy) == 0:
            raise no_tiles(
                self.slide_id,
                f"at {self.target_mpp} um/px a tile covers {tile_level0_px:.0f} px of level 0, and "
                f"the slide has {slide.dimensions_xy[0]} x {slide.dimensions_xy[1]}",
            )
        thumbnail, mask, tissue = _find_tissue(
            slide, level0_xy, tile_level0_px=tile_level0_px, mpp=scale.mpp
        )
        kept = tissue >= self.min_tissue
        if not kept.any():
            raise no_tiles(
                self.slide_id,
                f"none of {len(kept)} tiles is tissue to at least {self.min_tissue:g} "
                f"(the most is {tissue.max():.2f}); lower --min-tissue if this is no blank slide",
            )
        level0_xy, tissue = level0_xy[kept], tissue[kept]
        coverage_NC = self._coverage(boxes_xyxy(level0_xy, side=tile_level0_px))
        label = labels_of(coverage_NC, min_coverage=self.min_coverage)
        tables: dict[str, npt.NDArray[Any]] = {
            "level0_xy": level0_xy,
            "tissue": tissue,
            "label": label,
        }
        if self.classes:
            tables["coverage"] = coverage_NC
        return SlideTiles(
            facts=self._facts(slide, scale, choice, tile_level0_px),
            tables=tables,
            pictures={"mask": mask.astype(np.uint8), "thumbnail": thumbnail},
            batches=batched(_read_tiles(slide, level0_xy, choice, self.tile_px, self.target_mpp)),
        )

    def _coverage(self, boxes_N4: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        coverage_NC = np.zeros((len(boxes_N4), len(self.classes)), np.float32)
        if self.annotation is not None:
            geometries = read_geojson(self.annotation)
            columns = [self.classes.index(name) for name in geometries]
            coverage_NC[:, columns] = class_coverage(list(geometries.values()), boxes_N4)
        return coverage_NC

    def _facts(
        self, slide: Slide, scale: Scale, choice: LevelChoice, tile_level0_px: float
    ) -> dict[str, object]:
        return {
            "slide_id": self.slide_id,
            "patient": self.patient,
            "centre": self.centre,
            "vendor": slide.vendor,
            "mpp": scale.mpp,
            "mpp_source": scale.source,
            "dimensions_level0_xy": slide.dimensions_xy,
            "tile_level0_px": tile_level0_px,
            "level": choice.level,
            "level_mpp": choice.level_mpp,
            "resampling": choice.resampling,
            "source": self.inputs(),
        }


def _find_tissue(
    slide: Slide, level0_xy: npt.NDArray[np.int64], *, tile_level0_px: float, mpp: float
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    longest_px = max(slide.dimensions_xy)
    mask_px = int(np.clip(longest_px * mpp / _MASK_MPP, *_MASK_PX))
    thumbnail = slide.thumbnail(max_px=mask_px)
    mask = tissue_mask(thumbnail)
    to_mask = np.array(thumbnail.shape[1::-1]) / np.array(slide.dimensions_xy)
    boxes = boxes_xyxy(level0_xy, side=tile_level0_px) * np.tile(to_mask, 2)
    return thumbnail, mask, tissue_fraction(mask, boxes)


def _read_tiles(
    slide: Slide,
    level0_xy: npt.NDArray[np.int64],
    choice: LevelChoice,
    tile_px: int,
    target_mpp: float,
) -> Iterator[npt.NDArray[np.uint8]]:
    is_resampled = choice.resampling != "none"
    level_px = round(tile_px * target_mpp / choice.level_mpp) if is_resampled else tile_px
    how = cv2.INTER_LINEAR if choice.resampling == "linear" else cv2.INTER_AREA
    with slide:
        for x, y in level0_xy.tolist():
            region = slide.read_region((x, y), level=choice.level, size_xy=(level_px, level_px))
            if level_px == tile_px:
                yield region
            else:
                yield np.asarray(
                    cv2.resize(region, (tile_px, tile_px), interpolation=how), np.uint8
                )
