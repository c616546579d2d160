"""`medsimclr inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medsimclr.cli.console import print_json, print_lines, show_progress
from medsimclr.cli.options import build_command
from medsimclr.config.inspect import InspectConfig
from medsimclr.errors import PartlyDoneError

if TYPE_CHECKING:
    from medsimclr.slides.level_storage import LevelStorage
    from medsimclr.tiling.inspection import Estimate, LevelFacts, SlideFacts

__all__ = ["command"]

_RESAMPLINGS = {
    "none": "not resampled",
    "area": "averaged over areas",
    "dct": "shrunk while decoding",
    "linear": "interpolated, being a little coarser than asked",
}


def _run(config: InspectConfig, as_json: bool) -> None:
    from medsimclr.tiling.inspection import inspect_slides

    with show_progress("looking into slides") as progress:
        report = inspect_slides(config, progress=progress)
    if as_json:
        print_json(report.record())
    else:
        for facts in report.slides.values():
            print_lines(_lines(facts, config))
        print_lines([f"refused {name}: {why}" for name, why in sorted(report.failed.items())])
    if report.failed:
        raise PartlyDoneError(
            f"{len(report.failed)} of {len(report.failed) + len(report.slides)} slides cannot be "
            "read, for the reasons in the report."
        )


def _lines(facts: SlideFacts, config: InspectConfig) -> list[str]:
    unread = ", ".join(facts.unread_images)
    return [
        facts.slide_id,
        f"  format   {facts.vendor}, opened by {facts.reader}",
        f"  scale    {_scale(facts)}",
        *[f"  level {i}  {_level(level)}" for i, level in enumerate(facts.levels)],
        *([f"  unread   {unread}: present, never read"] if unread else []),
        *_tiling(facts, config),
    ]


def _scale(facts: SlideFacts) -> str:
    if facts.mpp is not None:
        return f"{facts.mpp:.4g} um/px at level 0; source: {facts.mpp_source}"
    return f"none that can be used; the slide states {facts.stated_mpp_xy or 'none'}"


def _level(level: LevelFacts) -> str:
    width, height = level.size_xy
    mpp = f", {level.mpp:.4g} um/px" if level.mpp is not None else ""
    storage = f"; {_storage(level.storage)}" if level.storage is not None else ""
    return f"{width} x {height}, 1/{level.downsample:.6g}{mpp}{storage}"


def _storage(storage: LevelStorage) -> str:
    words = [storage.compression]
    if storage.tile_xy is not None:
        words.append(f"tiles of {storage.tile_xy[0]} x {storage.tile_xy[1]}")
    if storage.jpeg is not None:
        words += [storage.jpeg.colour_space, storage.jpeg.subsampling]
        if storage.jpeg.quality is not None:
            words.append(f"quality about {storage.jpeg.quality}")
    return ", ".join(words)


def _tiling(facts: SlideFacts, config: InspectConfig) -> list[str]:
    asked = f"  tiling   at {config.mpp:g} um/px, {config.tile_px} px"
    if facts.estimate is None:
        return [f"{asked}: refused; {facts.refusal}"]
    estimate = facts.estimate
    n_bytes = ", ".join(f"{size / 1e6:.3g} MB as {name}" for name, size in estimate.n_bytes.items())
    return [
        f"{asked}: level {estimate.level}, {_RESAMPLINGS[estimate.resampling]}; "
        f"{_way(estimate, facts.reader)}",
        f"  tiles    {estimate.n_tissue} of tissue, of {estimate.n_grid} on the grid; "
        f"about {n_bytes}",
    ]


def _way(estimate: Estimate, reader: str) -> str:
    if estimate.reading == "copied":
        return "JPEG tiles copied undecoded (codec jpeg)"
    if estimate.reading == "decoded":
        return "JPEG tiles decoded directly" + (" at half size" if estimate.reduction == 2 else "")
    return f"read by {reader}"


command = build_command(InspectConfig, _run)
