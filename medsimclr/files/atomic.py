"""Writes that are either whole or absent, also after a power cut.

A file is written under a `.partial` name, flushed to the disk, and renamed; the folder is flushed
too, since a rename that is not on the disk did not happen (see `man 2 fsync`).
"""

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from medsimclr.errors import OutputError

__all__ = [
    "PARTIAL_SUFFIX",
    "json_text",
    "output_error",
    "output_errors",
    "remove_folder",
    "remove_partials",
    "sync_folder",
    "sync_tree",
    "write_bytes",
    "write_json",
    "write_text",
]

PARTIAL_SUFFIX = ".partial"
_SYNC_THREADS = 16


@contextmanager
def output_errors(where: Path) -> Iterator[None]:
    """Turn every failure of the file system into an `OutputError` that names the output.

    Only writing belongs inside: a slide that cannot be read would be called a bad output.

    Raises:
        OutputError: the file system refused to write under `where`.
    """
    try:
        yield
    except OSError as error:
        raise output_error(where, error) from error


def output_error(where: Path, error: OSError) -> OutputError:
    """Return the error of an output that the file system refused to take."""
    return OutputError(
        f"output {str(where)!r} must be writable and have room, got "
        f"{error.strerror or str(error)!r}; make room or choose another place, then run the same "
        "command again."
    )


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder, so that renames and new names survive a power cut."""
    _sync(folder)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder`.

    The flushes run side by side: a journalling file system commits them together, which makes a
    slide of few tiles four times cheaper to commit.
    """
    with ThreadPoolExecutor(max_workers=_SYNC_THREADS) as pool:
        list(pool.map(_sync, [folder, *folder.rglob("*")]))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one durable step."""
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    with output_errors(path):
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)


def write_text(path: Path, content: str) -> None:
    """Replace `path` by UTF-8 text in one durable step."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: object) -> None:
    """Replace `path` by indented JSON in one durable step; NaN and infinity are refused."""
    write_text(path, json_text(content))


def json_text(content: object) -> str:
    """Return a value as the JSON that `write_json` writes.

    Raises:
        ValueError: it holds NaN or infinity.
    """
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def remove_partials(folder: Path) -> None:
    """Sweep what a killed process left under a `.partial` name; call it under the lock only."""
    with output_errors(folder):
        for path in sorted(folder.glob(f"**/*{PARTIAL_SUFFIX}"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Delete a folder so that a kill leaves it whole or without its name, but never in part.

    A result that lost some of its files, and not the one that says it is complete, would pass for
    complete.
    """
    doomed = folder.with_name(folder.name + PARTIAL_SUFFIX)
    with output_errors(folder):
        if doomed.exists():
            shutil.rmtree(doomed)
        folder.rename(doomed)
        sync_folder(folder.parent)
        shutil.rmtree(doomed)
