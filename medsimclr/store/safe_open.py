"""Open files of a store of unknown origin, without leaving it and without hanging.

Every folder below the store is opened by its parent's handle: O_NOFOLLOW alone looks at the last
component of a path, and a link may take a folder's place between a check and the opening. Pipes and
devices are refused; opened without O_NONBLOCK, a pipe that nobody writes to would block for ever.
"""

import errno
import hashlib
import os
import stat
from pathlib import Path

__all__ = ["open_below", "read_below", "sha256_below"]

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_FOLDER = _FILE | os.O_DIRECTORY


def open_below(folder: Path, key: str) -> tuple[int, int]:
    """Open a regular file for reading; return its handle, to be closed, and its size in bytes.

    Args:
        folder: trusted; links in its own path are followed.
        key: path below `folder`, of names separated by "/"; none of them may be a link.

    Raises:
        OSError: it is missing, no regular file, behind a link, or cannot be opened.
    """
    *parents, name = key.split("/")
    assert all(part not in ("", ".", "..") for part in (*parents, name)), key
    path, parent = f"{folder}/", None
    try:
        for part in parents:
            inner = _open(path + part, _FOLDER, parent, part)
            if parent is not None:
                os.close(parent)
            path, parent = "", inner
        handle = _open(path + name, _FILE, parent, name)
    finally:
        if parent is not None:
            os.close(parent)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no regular file", key)
    return handle, status.st_size


def read_below(folder: Path, key: str, *, least_bytes: int = 0, most_bytes: int) -> bytes:
    """Read a file whole, its size looked at before memory is taken for it.

    Raises:
        OSError: as `open_below`, or it cannot be read.
        ValueError: it has another size.
    """
    handle, n_bytes = open_below(folder, key)
    with open(handle, "rb") as file:  # noqa: PTH123
        if not least_bytes <= n_bytes <= most_bytes:
            most = "" if least_bytes == most_bytes else "at most "
            raise ValueError(f"expected {most}{most_bytes} bytes, got {n_bytes}")
        return file.read(n_bytes)


def sha256_below(folder: Path, key: str) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Raises:
        OSError: as `open_below`, or it cannot be read.
    """
    handle, _ = open_below(folder, key)
    with open(handle, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(path: str, flags: int, parent: int | None, part: str) -> int:
    try:
        return os.open(path, flags, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.ELOOP:
            fact = f"{part!r} is a link, and links are not followed"
        elif error.errno == errno.ENOTDIR:
            # What Linux says of a link, too, where a folder is asked for.
            fact = f"{part!r} is a link or no folder, and links are not followed"
        else:
            raise
        raise OSError(error.errno, fact, path) from error
