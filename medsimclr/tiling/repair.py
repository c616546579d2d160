"""Make damaged files of a store anew from the slides they came from.

A damaged slide is tiled again beside the store; a file takes the place of a damaged one only if it
has the digest that the store remembers. Whole files are never touched.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from medsimclr.config.tile import TileConfig
from medsimclr.config.verify import VerifyConfig
from medsimclr.errors import ConfigError, IntegrityError, NoInputError
from medsimclr.files.atomic import PARTIAL_SUFFIX, output_errors, sync_folder
from medsimclr.files.lock import exclusive_lock
from medsimclr.store.reader import read_root_meta, read_slide_meta
from medsimclr.store.verify import Damage, Verification
from medsimclr.tiling.tile import tile

__all__ = ["Repair", "repair"]


@dataclass
class Repair:
    """What became of every damaged slide."""

    mended: dict[str, list[str]] = field(default_factory=dict)
    """Files made anew, by slide."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reason for each slide that stays damaged."""


def repair(config: VerifyConfig, found: Verification) -> Repair:
    """Redo what `verify_store` found damaged.

    Raises:
        ConfigError: no slides were given, or they do not fit the store.
        LockedError: another process writes this store.
    """
    outcome = Repair()
    if not found.damages:
        return outcome
    if not config.inputs:
        raise ConfigError(
            "--repair must have the slides that the store was made of, got none; give them as they "
            f"were given to `medsimclr tile`: {', '.join(found.damaged_slides[:5])}."
        )
    with exclusive_lock(config.store):
        beside = config.store.resolve().with_name(f".{config.store.name}.repair{PARTIAL_SUFFIX}")
        with output_errors(beside):
            shutil.rmtree(beside, ignore_errors=True)
        try:
            _redo(config, found, beside, outcome)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            beside.with_name(f".{beside.name}.lock").unlink(missing_ok=True)
    return outcome


def _redo(config: VerifyConfig, found: Verification, beside: Path, outcome: Repair) -> None:
    root = read_root_meta(config.store)
    again = TileConfig.model_validate(
        {
            **{key: value for key, value in root.tiling.items() if value is not None},
            "inputs": config.inputs,
            "annotations": config.annotations,
            "slides_csv": config.slides_csv,
            "workers": config.workers,
            "out": beside,
        }
    )
    try:
        report = tile(again, only=found.damaged_slides, expected=root)
    except NoInputError as error:
        outcome.failed = {slide_id: str(error) for slide_id in found.damaged_slides}
        return
    for slide_id in found.damaged_slides:
        damages = [damage for damage in found.damages if damage.slide_id == slide_id]
        if slide_id not in report.written:
            outcome.failed[slide_id] = report.failed.get(
                slide_id, "none of the given slides has this name"
            )
            continue
        try:
            outcome.mended[slide_id] = _mend(config.store / slide_id, beside / slide_id, damages)
        except IntegrityError as error:
            outcome.failed[slide_id] = str(error)


def _mend(slide: Path, new: Path, damages: list[Damage]) -> list[str]:
    """Put new files in the place of damaged ones; the metadata, which is the commit, last."""
    fresh = read_slide_meta(new.parent, new.name)
    files = sorted({damage.file for damage in damages})
    if "zarr.json" in files:
        # What it said of the other files is lost: they are compared with the new ones.
        files = [*fresh.digests, "zarr.json"]
    else:
        old = read_slide_meta(slide.parent, slide.name)
        if old != fresh:
            raise IntegrityError(
                "tiling it anew gives other bytes than the store had, so that only a part cannot "
                "be mended: the slide, its annotation or its row of slides.csv is another one, or "
                "a library changed; tile anew with --overwrite"
            )
    with output_errors(slide):
        for name in files:
            target = slide / name
            if name not in fresh.digests and name != "zarr.json":
                target.unlink()
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                (new / name).replace(target)
            folder = target.parent
            while folder != slide.parent:
                sync_folder(folder)
                folder = folder.parent
    return files
