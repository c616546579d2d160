"""Tiles of one whole-slide image."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medsimclr.files.checksum import sha256_of_file, sha256_of_value
from medsimclr.slides.annotations.coverage import class_coverage
from medsimclr.slides.annotations.reading import read_annotation
from medsimclr.slides.areas import BLANK, INK, TISSUE, area_fraction
from medsimclr.slides.focus import focus_score
from medsimclr.slides.jpeg_levels import JpegLevel, find_jpeg_levels
from medsimclr.slides.opening import open_slide, slide_id_of
from medsimclr.slides.scale import Scale, resolve_mpp
from medsimclr.slides.slide import Slide
from medsimclr.store.schema import LEFT_OUT_REASONS
from medsimclr.store.writer import Tile
from medsimclr.tiling.cut import Cut, Limits
from medsimclr.tiling.grid import boxes_xyxy, grid_xy, to_level0_xy
from medsimclr.tiling.overview import Overview, look_over
from medsimclr.tiling.reading import ReadingPlan, plan_reading, read_tiles
from medsimclr.tiling.source import Alive, SlideTiles, fingerprint, labels_of, no_tiles

__all__ = ["SlideSource"]


@dataclass(frozen=True, kw_only=True)
class SlideSource:
    """A whole-slide image, its annotation and its row of slides.csv."""

    path: Path
    cut: Cut
    limits: Limits = field(default_factory=Limits)
    classes: tuple[str, ...] = ()
    given_mpp: float | None = None
    given_mpp_source: Literal["slides.csv", "--source-mpp"] = "--source-mpp"
    annotation: Path | None = None
    patient: str | None = None
    centre: str | None = None
    alias: str | None = None
    """Name in the store in place of the file's."""
    is_isolated: bool = True

    @property
    def slide_id(self) -> str:
        """Name of the slide in the store."""
        return self.alias or slide_id_of(self.path)

    def inputs(self) -> dict[str, str]:
        """Return digests of the slide and its annotation, and what slides.csv says of it."""
        digests = fingerprint(self.path)
        digests["row"] = sha256_of_value([self.patient, self.centre])
        if self.annotation is not None:
            digests["annotation"] = sha256_of_file(self.annotation)
        if self.given_mpp is not None:
            digests["given_mpp"] = repr(self.given_mpp)
        return digests

    def open(self, alive: Alive) -> SlideTiles:
        """Open the slide, choose its level and tiles; see `TileSource`."""
        slide = open_slide(self.path, reader=self.cut.reader)
        scale = resolve_mpp(
            slide.mpp_xy,
            slide.mpp_source,
            override_mpp=self.given_mpp,
            override_source=self.given_mpp_source,
        )
        jpeg_levels = find_jpeg_levels(slide) if self.cut.reader == "auto" else {}
        plan = plan_reading(slide, scale, jpeg_levels, cut=self.cut)
        xy_N2 = self._grid(slide, plan)
        level0_xy_N2 = to_level0_xy(xy_N2, level0_per_px=plan.level0_px_per_px)
        boxes_N4 = boxes_xyxy(level0_xy_N2, side=self.cut.tile_px * plan.level0_px_per_px)
        overview = look_over(slide, jpeg_levels, mpp=scale.mpp, alive=alive)
        share_N3 = _shares(overview, boxes_N4)
        reason_N = self._reasons(share_N3)
        kept = reason_N < 0
        coverage_NC = self._coverage(boxes_N4[kept])
        tables: dict[str, npt.NDArray[Any]] = {
            "level0_xy": level0_xy_N2[kept],
            "tissue": share_N3[kept, 0],
            "label": labels_of(coverage_NC, min_coverage=self.limits.min_coverage),
        }
        if self.classes:
            tables["coverage"] = coverage_NC
        jpeg = jpeg_levels.get(plan.choice.level)
        return SlideTiles(
            facts=self._facts(slide, scale, plan),
            tables=tables,
            pictures={"mask": overview.areas_HW, "thumbnail": overview.thumbnail_HW3},
            tiles=self._tiles(slide, plan, jpeg, xy_N2[kept], share_N3[kept, 1:]),
            left_out_M3=np.concatenate([level0_xy_N2, reason_N[:, None]], axis=1)[~kept],
            notes=self._notes(coverage_NC),
        )

    def _grid(self, slide: Slide, plan: ReadingPlan) -> npt.NDArray[np.int64]:
        cut = self.cut
        width, height = slide.level_dimensions_xy[plan.choice.level]
        size_xy = (width / plan.level_px_per_px, height / plan.level_px_per_px)
        xy_N2 = grid_xy(size_xy, tile_px=cut.tile_px, step_px=cut.step_px, edge=cut.edge)
        if len(xy_N2) == 0:
            raise no_tiles(
                self.slide_id,
                f"at {cut.target_mpp} um/px a tile covers "
                f"{cut.tile_px * plan.level0_px_per_px:.0f} px of level 0, and the slide has "
                f"{slide.dimensions_xy[0]} x {slide.dimensions_xy[1]}",
            )
        return xy_N2

    def _reasons(self, share_N3: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Return why each place gets no tile, an index into LEFT_OUT_REASONS, or -1."""
        limits = self.limits
        tissue_N, ink_N, blank_N = share_N3.T
        reason_N = np.full(len(share_N3), -1, np.int64)
        # The later wins: what lies under a pen has no tissue to show, and the pen is why.
        reason_N[blank_N > limits.max_blank] = LEFT_OUT_REASONS.index("blank")
        reason_N[tissue_N < limits.min_tissue] = LEFT_OUT_REASONS.index("tissue")
        reason_N[ink_N > limits.max_ink] = LEFT_OUT_REASONS.index("ink")
        if (reason_N >= 0).all():
            raise no_tiles(
                self.slide_id,
                f"none of {len(reason_N)} tiles is tissue to at least {limits.min_tissue:g} "
                f"within the limits of ink and blank (the most tissue is {tissue_N.max():.2f}); "
                "lower --min-tissue if this is no blank slide",
            )
        return reason_N

    def _notes(self, coverage_NC: npt.NDArray[np.float32]) -> tuple[str, ...]:
        if self.annotation is None or coverage_NC.any():
            return ()
        return (
            f"the annotation of {self.slide_id} covers none of its tiles; its coordinates must be "
            "level-0 pixels of this very slide.",
        )

    def _coverage(self, boxes_N4: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        coverage_NC = np.zeros((len(boxes_N4), len(self.classes)), np.float32)
        if self.annotation is not None:
            geometries = read_annotation(self.annotation)
            columns = [self.classes.index(name) for name in geometries]
            coverage_NC[:, columns] = class_coverage(list(geometries.values()), boxes_N4)
        return coverage_NC

    def _tiles(
        self,
        slide: Slide,
        plan: ReadingPlan,
        jpeg: JpegLevel | None,
        xy_N2: npt.NDArray[np.int64],
        ink_blank_N2: npt.NDArray[np.float32],
    ) -> Iterator[Tile]:
        least = self.limits.min_focus
        too_blurred = LEFT_OUT_REASONS.index("focus")
        n_kept, best = 0, 0.0
        ink_blank = ink_blank_N2.tolist()
        with slide:
            for row, pixels in enumerate(read_tiles(slide, plan, jpeg, xy_N2)):
                focus = math.nan if isinstance(pixels, bytes) else focus_score(pixels)
                is_blurred = focus < least
                yield Tile(
                    row=row,
                    pixels=pixels,
                    quality=(focus, *ink_blank[row]),
                    left_out=too_blurred if is_blurred else None,
                )
                n_kept += not is_blurred
                best = max(best, focus)
        if n_kept == 0:
            raise no_tiles(
                self.slide_id,
                f"none of {len(xy_N2)} tissue tiles has a focus of at least {least:g} (the best "
                f"has {best:.3g}); lower --min-focus",
            )

    def _facts(self, slide: Slide, scale: Scale, plan: ReadingPlan) -> dict[str, object]:
        return {
            "slide_id": self.slide_id,
            "patient": self.patient,
            "centre": self.centre,
            "vendor": slide.vendor,
            "mpp": scale.mpp,
            "mpp_source": scale.source,
            "dimensions_level0_xy": slide.dimensions_xy,
            "tile_level0_px": self.cut.tile_px * plan.level0_px_per_px,
            "tile_mpp": plan.tile_mpp,
            "level": plan.choice.level,
            "level_mpp": plan.choice.level_mpp,
            "resampling": plan.resampling,
            "reading": plan.reading,
            "source": self.inputs(),
        }


def _shares(overview: Overview, boxes_N4: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return the shares of tissue, ink and blank in each box of level-0 pixels, (N, 3)."""
    boxes = boxes_N4 * np.tile(overview.thumbnail_px_per_level0_px, 2)
    shares = [area_fraction(overview.areas_HW, code, boxes) for code in (TISSUE, INK, BLANK)]
    return np.stack(shares, axis=1)
