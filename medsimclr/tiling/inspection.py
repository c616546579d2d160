"""What is known of slides, and what tiling would make of them, without writing anything.

The estimate asks the very source that tiling asks, so that both agree on grid, tissue and way.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import openslide

from medsimclr.config.inspect import InspectConfig
from medsimclr.errors import MedSimCLRError, NoInputError, SlideError
from medsimclr.slides.jpeg_levels import find_jpeg_levels
from medsimclr.slides.level_storage import LevelStorage, level_storage
from medsimclr.slides.opening import check_reader, find_slides, open_slide, slide_id_of
from medsimclr.slides.openslide_slide import OpenSlideSlide
from medsimclr.slides.scale import Scale, resolve_mpp
from medsimclr.slides.slide import Slide
from medsimclr.store.codec import CRC_BYTES, encode_chunk
from medsimclr.tiling.cut import Cut, Limits
from medsimclr.tiling.isolation import run_isolated
from medsimclr.tiling.reading import ReadingPlan, plan_reading, read_tiles
from medsimclr.tiling.slide_source import SlideSource

__all__ = ["Estimate", "InspectReport", "LevelFacts", "SlideFacts", "inspect_slides"]

# Tiles that are read and encoded to estimate bytes, spread over the tissue.
_N_SAMPLES = 16
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class LevelFacts:
    """One level; `storage` is None where nothing is known of it."""

    size_xy: tuple[int, int]
    downsample: float
    mpp: float | None
    storage: LevelStorage | None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What tiling would do with the slide."""

    level: int
    resampling: str
    reading: str
    """copied, decoded or region, as in `reading`."""
    reduction: int
    """What JPEG decoding alone shrinks by."""
    tile_mpp: float
    n_grid: int
    n_tissue: int
    n_bytes: dict[str, int]
    """Of all tissue tiles, by codec, from some of them."""


@dataclass(frozen=True, kw_only=True)
class SlideFacts:
    """What is known of one slide; none of it is free text that its scanner wrote."""

    slide_id: str
    vendor: str
    reader: str
    levels: tuple[LevelFacts, ...]
    stated_mpp_xy: tuple[float, float] | None
    mpp: float | None
    mpp_source: str | None
    unread_images: tuple[str, ...]
    """Label, macro and the like: they are there, and are never read."""
    estimate: Estimate | None
    refusal: str | None
    """Why tiling would refuse the slide."""


@dataclass
class InspectReport:
    """Facts of each slide, and reasons of those that cannot be read."""

    slides: dict[str, SlideFacts] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _Task:
    path: Path
    config: InspectConfig


def inspect_slides(
    config: InspectConfig, *, progress: Progress = lambda done, total, what: None
) -> InspectReport:
    """Look into every slide, each in a process of its own.

    Raises:
        NoInputError: there is no slide, or none could be read.
        ConfigError: the reader asked needs a package that is not installed.
    """
    check_reader(config.reader)
    tasks = [_Task(path, config) for path in find_slides(config.inputs)]
    outcomes = run_isolated(
        _inspect_task,
        tasks,
        n_processes=config.workers,
        memory_mb=config.slide_memory_mb,
        silent_seconds=config.slide_seconds,
    )
    found: dict[Path, SlideFacts | MedSimCLRError] = {}
    for task, outcome in outcomes:
        found[task.path] = outcome
        progress(len(found), len(tasks), slide_id_of(task.path))
    report = InspectReport()
    for task in tasks:
        outcome = found[task.path]
        if isinstance(outcome, MedSimCLRError):
            report.failed[slide_id_of(task.path)] = str(outcome)
        else:
            report.slides[outcome.slide_id] = outcome
    if not report.slides:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in report.failed.items())
        raise NoInputError(f"none of {len(report.failed)} slides could be read:\n{reasons}")
    return report


def _inspect_task(task: _Task, alive: Callable[[], None]) -> SlideFacts:
    with open_slide(task.path, reader=task.config.reader) as slide:
        alive()
        return _facts(slide, task, alive)


def _facts(slide: Slide, task: _Task, alive: Callable[[], None]) -> SlideFacts:
    config = task.config
    scale, estimate, refusal = None, None, None
    try:
        scale = resolve_mpp(slide.mpp_xy, slide.mpp_source, override_mpp=config.source_mpp)
        estimate = _estimate(slide, scale, task, alive)
    except SlideError as error:
        refusal = str(error)
    return SlideFacts(
        slide_id=slide_id_of(task.path),
        vendor=slide.vendor,
        reader=_reader_name(slide, config),
        levels=_levels(slide, scale),
        stated_mpp_xy=slide.mpp_xy,
        mpp=scale.mpp if scale is not None else None,
        mpp_source=scale.source if scale is not None else None,
        unread_images=slide.unread_images,
        estimate=estimate,
        refusal=refusal,
    )


def _reader_name(slide: Slide, config: InspectConfig) -> str:
    """Return who decodes the slide: the reader asked, or the one that auto found."""
    if config.reader.startswith("monai:"):
        return f"MONAI with {config.reader.removeprefix('monai:')}"
    if isinstance(slide, OpenSlideSlide):
        return f"OpenSlide {openslide.__library_version__}"
    return "tifffile" if slide.vendor == "ome-tiff" else "Pillow"


def _levels(slide: Slide, scale: Scale | None) -> tuple[LevelFacts, ...]:
    storage = level_storage(slide)
    levels = zip(slide.level_dimensions_xy, slide.level_downsamples, strict=True)
    return tuple(
        LevelFacts(
            size_xy=size_xy,
            downsample=downsample,
            mpp=scale.mpp * downsample if scale is not None else None,
            storage=storage.get(level),
        )
        for level, (size_xy, downsample) in enumerate(levels)
    )


def _estimate(slide: Slide, scale: Scale, task: _Task, alive: Callable[[], None]) -> Estimate:
    config = task.config
    cut = Cut(
        target_mpp=config.mpp,
        tile_px=config.tile_px,
        step_px=config.step_px,
        edge=config.edge,
        reader=config.reader,
        may_copy=True,
    )
    jpeg_levels = find_jpeg_levels(slide) if config.reader == "auto" else {}
    plan = plan_reading(slide, scale, jpeg_levels, cut=cut)
    source = SlideSource(
        path=task.path,
        cut=cut,
        limits=Limits(min_tissue=config.min_tissue),
        given_mpp=config.source_mpp,
    )
    opened = source.open(alive)
    level0_xy_N2 = opened.tables["level0_xy"]
    n_tissue = len(level0_xy_N2)
    n_left_out = 0 if opened.left_out_M3 is None else len(opened.left_out_M3)
    picked = np.unique(np.linspace(0, n_tissue - 1, _N_SAMPLES).astype(np.int64))
    sample_xy_N2 = np.rint(level0_xy_N2[picked] / plan.level0_px_per_px).astype(np.int64)
    jpeg_level = jpeg_levels.get(plan.choice.level)
    means: dict[str, float] = {"raw": 3 * config.tile_px**2 + CRC_BYTES}
    for codec in ("jpeg", "zstd"):
        # Only the jpeg codec can take streams as they are.
        its_plan = plan if codec == "jpeg" else _decoding(plan)
        chunks = [
            encode_chunk(pixels, codec, jpeg_quality=config.jpeg_quality)
            for pixels in read_tiles(slide, its_plan, jpeg_level, sample_xy_N2)
        ]
        means[codec] = sum(map(len, chunks)) / len(chunks)
        alive()
    return Estimate(
        level=plan.choice.level,
        resampling=plan.resampling,
        reading=plan.reading,
        reduction=plan.reduction,
        tile_mpp=plan.tile_mpp,
        n_grid=n_tissue + n_left_out,
        n_tissue=n_tissue,
        n_bytes={codec: round(mean * n_tissue) for codec, mean in sorted(means.items())},
    )


def _decoding(plan: ReadingPlan) -> ReadingPlan:
    return replace(plan, reading="decoded") if plan.reading == "copied" else plan
