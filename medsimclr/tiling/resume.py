"""What of a store is there already, and what stands against going on with it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from medsimclr.errors import ConfigError, SlideError
from medsimclr.files.atomic import PARTIAL_SUFFIX, output_errors, remove_folder
from medsimclr.store.safe_open import read_below
from medsimclr.store.schema import SlideMeta
from medsimclr.tiling.source import TileSource

__all__ = ["clear_store", "reading", "split_done"]

# What a digest of a slide's inputs speaks of, for a person.
_MEANING = {
    "sha256": "file",
    "quickhash": "file",
    "row": "patient or centre",
    "annotation": "annotation",
    "given_mpp": "given scale",
}


@contextmanager
def reading(source: TileSource) -> Iterator[None]:
    """Let a disk that fails under a slide be the slide's error, and not the output's."""
    try:
        yield
    except OSError as error:
        raise SlideError(
            f"slide {source.slide_id!r} cannot be read: {error.strerror or error}. Copy it anew."
        ) from error


def split_done(
    sources: Sequence[TileSource], committed: Mapping[str, SlideMeta], *, store: Path
) -> tuple[list[TileSource], dict[str, int], dict[str, str]]:
    """Return the sources to tile, the tiles of those that are done, and the reasons of failures.

    Raises:
        ConfigError: a slide is there, but was made of other inputs; or under another name.
    """
    todo: list[TileSource] = []
    kept: dict[str, int] = {}
    failed: dict[str, str] = {}
    for source in sources:
        there = committed.get(source.slide_id)
        if there is None:
            todo.append(source)
            continue
        try:
            with reading(source):
                given = source.inputs()
        except SlideError as error:  # its tiles stay; that the file is gone must be said
            failed[source.slide_id] = str(error)
            continue
        if there.source != given:
            raise ConfigError(_difference(source.slide_id, there.source, given, store=store))
        kept[source.slide_id] = there.n_tiles
    others = {i: meta for i, meta in committed.items() if i not in kept and i not in failed}
    _refuse_renamed(todo, others, store=store)
    return todo, kept, failed


def _difference(
    slide_id: str, old: Mapping[str, str], new: Mapping[str, str], *, store: Path
) -> str:
    keys = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    what = " and ".join(dict.fromkeys(_MEANING.get(key, key) for key in keys))
    return (
        f"slide {slide_id!r} in {str(store)!r} was tiled from another {what} than the one given; "
        "add --overwrite or choose another --out."
    )


def _refuse_renamed(
    todo: Sequence[TileSource], others: Mapping[str, SlideMeta], *, store: Path
) -> None:
    """Refuse a slide that is in the store under another name: it would count as two patients.

    It happens when an alias is added to slides.csv, or taken out, between two runs.
    """
    name_of = {_file_digest(meta.source): slide_id for slide_id, meta in others.items()}
    for source in todo if name_of else ():
        try:
            with reading(source):
                digest = _file_digest(source.inputs())
        except SlideError:
            continue  # it is refused by itself when its turn comes
        if digest is not None and digest in name_of:
            raise ConfigError(
                f"slide {source.slide_id!r} is in {str(store)!r} already, as {name_of[digest]!r}; "
                "give it that name (file name or alias), or add --overwrite."
            )


def _file_digest(source: Mapping[str, str]) -> str | None:
    return source.get("sha256") or source.get("quickhash")


def clear_store(store: Path) -> None:
    """Delete a store; the root goes last, so that a deletion that was killed can be repeated.

    Raises:
        ConfigError: it is no store of ours.
    """
    root = store / "zarr.json"
    # A killed deletion may have left nothing but what has lost its name already.
    is_left_over = all(entry.name.endswith(PARTIAL_SUFFIX) for entry in store.iterdir())
    if not is_left_over and not _is_tile_store(root):
        raise ConfigError(
            f"--overwrite deletes only a tile store of ours, got {str(store)!r} without our "
            "zarr.json; choose another --out."
        )
    with output_errors(store):
        for entry in sorted(store.iterdir(), key=lambda entry: entry == root):
            if entry.is_dir() and not entry.is_symlink():
                remove_folder(entry)
            else:
                entry.unlink()


def _is_tile_store(root: Path) -> bool:
    """Tell a store of ours, also by its slides: its own metadata may be damaged or lost."""
    return any(_speaks_of_us(path) for path in (root, *root.parent.glob("*/zarr.json")))


def _speaks_of_us(metadata: Path) -> bool:
    try:
        return b'"medsimclr"' in read_below(metadata.parent, metadata.name, most_bytes=64 << 20)
    except (OSError, ValueError):
        return False
