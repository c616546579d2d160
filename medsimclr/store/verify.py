"""Compare every file of a store with the digests that its slides carry; name what is damaged."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medsimclr.errors import IntegrityError
from medsimclr.store.codec import CodecName
from medsimclr.store.reader import committed_slides, read_root_meta, read_slide_meta
from medsimclr.store.safe_open import sha256_below
from medsimclr.store.schema import SLIDE_ID, RootMeta, SlideMeta
from medsimclr.store.shard_reader import ShardReader

__all__ = ["Damage", "Verification", "verify_store"]

_METADATA = "zarr.json"


@dataclass(frozen=True)
class Damage:
    """One file of one slide that is not what was written."""

    slide_id: str
    file: str
    """Path below the slide."""
    fact: str
    tiles: tuple[int, ...] = ()
    """Rows of the tiles that it takes with it."""

    def __str__(self) -> str:
        return f"slide {self.slide_id}: {self.file} {self.fact}{_ranges(self.tiles)}"


@dataclass(frozen=True)
class Verification:
    """What was looked at, and what was found."""

    n_slides: int
    n_tiles: int
    n_files: int
    damages: list[Damage]

    @property
    def damaged_slides(self) -> list[str]:
        """The slides of the damages, sorted."""
        return sorted({damage.slide_id for damage in self.damages})


def verify_store(
    path: Path, *, progress: Callable[[int, int, str], None] = lambda done, total, what: None
) -> Verification:
    """Read every byte of a store.

    Args:
        path: the store's folder.
        progress: called with (slides done, slides in all, last slide).

    Raises:
        NoInputError: there is no store.
        IntegrityError: the store's own zarr.json is damaged, so that nothing below can be judged.
    """
    root = read_root_meta(path)
    slide_ids = committed_slides(path)
    n_tiles = n_files = 0
    damages = list(_linked_slides(path))
    n_slides = len(slide_ids) + len(damages)
    for done, slide_id in enumerate(slide_ids, start=1):
        n_files += 1
        try:
            meta = read_slide_meta(path, slide_id)
        except IntegrityError as error:
            damages.append(Damage(slide_id, _METADATA, f"cannot be used: {error}"))
        else:
            n_files += len(meta.digests)
            n_tiles += meta.n_tiles
            damages.extend(_damages(path, meta, root))
        progress(done, len(slide_ids), slide_id)
    folders = (entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False))
    for name in sorted(set(folders) - set(slide_ids)):
        damages.append(Damage(name, _METADATA, "is missing: lost, or the slide was never finished"))
    return Verification(n_slides, n_tiles, n_files, damages)


def _linked_slides(store: Path) -> Iterator[Damage]:
    for entry in sorted(os.scandir(store), key=lambda entry: entry.name):
        if entry.is_symlink() and SLIDE_ID.fullmatch(entry.name):
            yield Damage(entry.name, ".", "is a link, which is not followed: its tiles are missing")


def _damages(store: Path, meta: SlideMeta, root: RootMeta) -> Iterator[Damage]:
    for key, digest in meta.digests.items():
        fact = _fact(store, f"{meta.slide_id}/{key}", digest)
        if fact:
            is_shard = key.startswith("images/c/")
            tiles = _lost_tiles(store, key, meta, root) if is_shard else ()
            yield Damage(meta.slide_id, key, fact, tiles)
    known = {*meta.digests, _METADATA}
    yield from _strangers(store / meta.slide_id, meta.slide_id, known)


def _fact(store: Path, key: str, digest: str) -> str | None:
    """Return what is wrong with a file; None if nothing is."""
    try:
        return None if sha256_below(store, key) == digest else "is not what was written"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def _strangers(folder: Path, slide_id: str, known: set[str]) -> Iterator[Damage]:
    """Name what is in a slide's folder beside its files, and what cannot be listed."""
    errors: list[OSError] = []
    names: list[str] = []
    for parent, folders, files in os.walk(folder, onerror=errors.append):
        # A link to a folder counts as a folder here, and is not walked into.
        links = [name for name in folders if Path(parent, name).is_symlink()]
        names += [Path(parent, name).relative_to(folder).as_posix() for name in (*links, *files)]
    for error in errors:
        name = Path(error.filename).relative_to(folder).as_posix()
        yield Damage(slide_id, name, f"cannot be listed: {error.strerror}")
    for name in sorted(set(names) - known):
        yield Damage(slide_id, name, "does not belong there")


def _lost_tiles(store: Path, key: str, meta: SlideMeta, root: RootMeta) -> tuple[int, ...]:
    """Return the rows whose chunks fail; all of the shard where none does, or none can be read."""
    first = int(key.split("/")[2]) * root.shard_tiles
    rows = range(first, min(first + root.shard_tiles, meta.n_tiles))
    codec: CodecName = root.tiling["codec"]
    tile_HW3 = np.empty((root.tile_px, root.tile_px, 3), np.uint8)
    lost: list[int] = []
    try:
        shard = ShardReader(
            store, f"{meta.slide_id}/{key}", codec=codec, shard_tiles=root.shard_tiles
        )
    except IntegrityError:
        return tuple(rows)
    for row in rows:
        try:
            shard.read_into(row - first, tile_HW3)
        except IntegrityError:
            lost.append(row)
    shard.close()
    # Another valid shard in its place: every tile may be another one.
    return tuple(lost or rows)


def _ranges(rows: tuple[int, ...]) -> str:
    if not rows:
        return ""
    starts = [row for row in rows if row - 1 not in set(rows)]
    ends = [row for row in rows if row + 1 not in set(rows)]
    pairs = zip(starts, ends, strict=True)
    shown = ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in pairs)
    return f" (tile{'s' if len(rows) > 1 else ''} {shown})"
