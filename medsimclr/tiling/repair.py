"""Make damaged files of a store anew from the slides they came from.

A damaged slide is tiled again beside the store; a file takes the place of a damaged one only if it
has the digest that the store remembers. Whole files are never touched.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medsimclr.config.base import resolve
from medsimclr.config.tile import TileConfig
from medsimclr.config.verify import VerifyConfig
from medsimclr.errors import ConfigError, IntegrityError, NoInputError
from medsimclr.files.atomic import PARTIAL_SUFFIX, output_errors, remove_folder, sync_folder
from medsimclr.files.lock import exclusive_lock
from medsimclr.store.reader import read_root_meta, read_slide_meta
from medsimclr.store.safe_open import read_below, sha256_below
from medsimclr.store.schema import SlideMeta
from medsimclr.store.verify import Damage, Verification
from medsimclr.tiling.tile import tile

__all__ = ["Repair", "repair"]

_METADATA = "zarr.json"
_MAX_METADATA_BYTES = 64 << 20


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
        if beside.exists():
            remove_folder(beside)
        try:
            _redo(config, found, beside, outcome)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            beside.with_name(f".{beside.name}.lock").unlink(missing_ok=True)
    return outcome


def _redo(config: VerifyConfig, found: Verification, beside: Path, outcome: Repair) -> None:
    settings = {
        **{k: v for k, v in read_root_meta(config.store).tiling.items() if v is not None},
        **config.model_dump(exclude={"store", "repair"}),
        "out": beside,
    }
    again = resolve(TileConfig, flags=settings)
    try:
        report = tile(again, only=found.damaged_slides, repairing=config.store)
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
    files = {damage.file for damage in damages}
    if _METADATA in files:
        _check_remains(slide, fresh)
        files |= set(_strangers(slide, fresh))
    elif read_slide_meta(slide.parent, slide.name) != fresh:
        raise IntegrityError(
            "tiling it anew gives other bytes than the store had, so that only a part cannot be "
            "mended: the slide, its annotation or its row of slides.csv is another one, or a "
            "library changed; tile anew with --overwrite"
        )
    # First what does not belong: a link in the place of a folder would be written through.
    ordered = sorted(files, key=lambda name: (name == _METADATA, name in fresh.digests, name))
    with output_errors(slide):
        for name in ordered:
            target = slide / name
            if name in fresh.digests or name == _METADATA:
                target.parent.mkdir(parents=True, exist_ok=True)
                (new / name).replace(target)
            else:
                target.unlink()
            folder = target.parent
            while folder != slide.parent:
                sync_folder(folder)
                folder = folder.parent
    return ordered


def _check_remains(slide: Path, fresh: SlideMeta) -> None:
    """Check that the files whose list is lost are those of the slide that was given.

    Raises:
        IntegrityError: one is missing or another one, so that nothing says which is right.
    """
    for name, digest in fresh.digests.items():
        try:
            is_same = sha256_below(slide.parent, f"{slide.name}/{name}") == digest
        except OSError:
            is_same = False
        if not is_same:
            raise IntegrityError(
                f"its metadata is damaged, and {name} is not what tiling it anew gives, so that "
                "nothing says which is right; delete its folder and run `medsimclr tile` again"
            )
    try:
        key = f"{slide.name}/{_METADATA}"
        content = json.loads(read_below(slide.parent, key, most_bytes=_MAX_METADATA_BYTES))
        said = content["attributes"]["medsimclr"]["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # too damaged to say anything
    if said != fresh.source:
        raise IntegrityError(
            "its metadata is damaged, and what is left of it speaks of another file, annotation or "
            "row of slides.csv; delete its folder and run `medsimclr tile` again"
        )


def _strangers(slide: Path, fresh: SlideMeta) -> Iterator[str]:
    for parent, folders, names in os.walk(slide):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in [*names, *links]:
            found = Path(parent, name).relative_to(slide).as_posix()
            if found not in fresh.digests and found != _METADATA:
                yield found
