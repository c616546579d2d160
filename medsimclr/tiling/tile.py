"""The run of `medsimclr tile`: sources in, one committed slide after the other out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medsimclr.config.tile import TileConfig
from medsimclr.errors import MedSimCLRError, NoInputError, SlideError, UnsafeInputError
from medsimclr.files.checksum import sha256_of_value
from medsimclr.files.lock import HeldLock, exclusive_lock
from medsimclr.files.output_folder import check_output_folder
from medsimclr.slides.areas import AREA_THRESHOLDS
from medsimclr.slides.opening import check_reader
from medsimclr.store.reader import committed_slides, read_root_meta, read_slide_meta
from medsimclr.store.schema import RootMeta, SlideMeta
from medsimclr.store.writer import StoreWriter, Tile, check_same
from medsimclr.tiling.inputs import Inputs, find_inputs
from medsimclr.tiling.isolation import run_isolated
from medsimclr.tiling.resume import clear_store, reading, split_done
from medsimclr.tiling.source import QUALITY_NAMES, TileSource

__all__ = ["TileReport", "tile"]

# What one slide may fail with while the others go on.
_REFUSED = (SlideError, UnsafeInputError)
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class _Written:
    n_tiles: int
    notes: tuple[str, ...]


@dataclass
class TileReport:
    """What became of every slide."""

    store: Path
    written: dict[str, int] = field(default_factory=dict)
    """Tiles of each slide that this run wrote."""
    kept: dict[str, int] = field(default_factory=dict)
    """Tiles of each slide that was already there."""
    planned: list[str] = field(default_factory=list)
    """Slides that a dry run would tile."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reason for each slide that was refused."""
    notes: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {**self.__dict__, "store": str(self.store)}

    def take(self, slide_id: str, outcome: _Written | MedSimCLRError) -> None:
        """Note what became of a slide, but raise what must end the run."""
        if isinstance(outcome, _REFUSED):
            self.failed[slide_id] = str(outcome)
        elif isinstance(outcome, MedSimCLRError):
            raise outcome
        else:
            self.written[slide_id] = outcome.n_tiles
            self.notes.extend(outcome.notes)


@dataclass(frozen=True)
class _Task:
    source: TileSource
    store: Path
    meta: RootMeta
    lock: HeldLock


def tile(
    config: TileConfig,
    *,
    progress: Progress = lambda done, total, what: None,
    only: Sequence[str] | None = None,
    repairing: Path | None = None,
) -> TileReport:
    """Write, or go on writing, a tile store.

    A slide that fails is reported and the others go on; slides that are there already are kept.

    Args:
        config: inputs, output and scale.
        progress: called with (slides done, slides in all, last slide).
        only: the slides of the store to write; all where it is None.
        repairing: the store whose configuration and classes must come out.

    Raises:
        NoInputError: nothing to tile, or not one slide could be.
        ConfigError: arguments do not fit, or the output is of another configuration.
        LockedError: another process writes this store.
    """
    check_reader(config.reader)
    check_output_folder(config.out)
    if config.preview is not None:
        check_output_folder(config.preview, option="--preview")
    inputs = find_inputs(config)
    meta = _root_meta(config, inputs)
    if repairing is not None:
        advice = "give --annotations and --slides-csv as they were given to `medsimclr tile`"
        check_same(repairing, read_root_meta(repairing), meta, advice=advice)
    if only is not None:
        inputs = replace(inputs, sources=[s for s in inputs.sources if s.slide_id in set(only)])
        if not inputs.sources:
            raise NoInputError(f"none of the given slides is named {' or '.join(only)}")
    report = TileReport(store=config.out, notes=list(inputs.notes))
    if config.dry_run:
        return _plan(config, inputs, meta, report)
    with exclusive_lock(config.out) as lock:
        if config.overwrite:
            clear_store(config.out)
        writer = StoreWriter(config.out, meta)
        writer.sweep()
        todo, report.kept, report.failed = split_done(
            inputs.sources, writer.committed(), store=config.out
        )
        done = len(inputs.sources) - len(todo)
        for slide_id, outcome in _outcomes(todo, writer, config, lock):
            done += 1
            report.take(slide_id, outcome)
            progress(done, len(inputs.sources), slide_id)
        if report.failed:
            writer.sweep()
        if not committed_slides(config.out):
            clear_store(config.out)
    if not report.written and not report.kept:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in report.failed.items())
        raise NoInputError(f"none of {len(report.failed)} slides could be tiled:\n{reasons}")
    return report


def _plan(config: TileConfig, inputs: Inputs, meta: RootMeta, report: TileReport) -> TileReport:
    """Say what a run would do; a store of another configuration is refused as by the run."""
    there: dict[str, SlideMeta] = {}
    if (config.out / "zarr.json").is_file() and not config.overwrite:
        check_same(config.out, read_root_meta(config.out), meta)
        there = {name: read_slide_meta(config.out, name) for name in committed_slides(config.out)}
    todo, report.kept, report.failed = split_done(inputs.sources, there, store=config.out)
    report.planned = [source.slide_id for source in todo]
    return report


def _root_meta(config: TileConfig, inputs: Inputs) -> RootMeta:
    tiling = config.identity()
    return RootMeta(
        schema=2,
        tile_px=config.tile_px,
        shard_tiles=config.shard_tiles,
        mpp=config.mpp,
        classes=inputs.classes,
        quality_names=QUALITY_NAMES,
        mask_thresholds=AREA_THRESHOLDS,
        tiling=tiling,
        tiling_sha256=sha256_of_value(tiling),
    )


def _outcomes(
    sources: Sequence[TileSource], writer: StoreWriter, config: TileConfig, lock: HeldLock
) -> Iterator[tuple[str, _Written | MedSimCLRError]]:
    inline = [source for source in sources if not source.is_isolated]
    isolated = [source for source in sources if source.is_isolated]
    for source in inline:
        try:
            yield source.slide_id, _write(source, writer)
        except _REFUSED as error:
            yield source.slide_id, error
    tasks = [_Task(source, writer.path, writer.meta, lock) for source in isolated]
    outcomes = run_isolated(
        _write_task,
        tasks,
        n_processes=config.workers,
        memory_mb=config.slide_memory_mb,
        silent_seconds=config.slide_seconds,
    )
    for task, outcome in outcomes:
        yield task.source.slide_id, outcome


def _write_task(task: _Task, alive: Callable[[], None]) -> _Written:
    return _write(task.source, StoreWriter(task.store, task.meta), alive)


def _write(
    source: TileSource, writer: StoreWriter, alive: Callable[[], None] = lambda: None
) -> _Written:
    with reading(source):
        opened = source.open(alive)
    meta = writer.write_slide(
        facts=opened.facts,
        tables=opened.tables,
        pictures=opened.pictures,
        tiles=_announced(source, opened.tiles, alive),
        left_out_M3=opened.left_out_M3,
    )
    return _Written(meta.n_tiles, opened.notes)


def _announced(
    source: TileSource, tiles: Iterator[Tile], alive: Callable[[], None]
) -> Iterator[Tile]:
    with reading(source):
        for tile_ in tiles:
            alive()
            yield tile_
