"""One writer per output, held by an advisory lock that dies with its process."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medsimclr.errors import LockedError
from medsimclr.files.atomic import output_errors

__all__ = ["exclusive_lock"]


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process, creating it if needed.

    The lock file stands beside the folder: inside, it would be part of the result.

    Raises:
        LockedError: another process holds it; nothing waits.
        OutputError: the place cannot be written.
    """
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        real = folder.resolve()
        file = (real.parent / f".{real.name}.lock").open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(
                f"output {str(folder)!r} is being written by another process; wait until it ends "
                "or choose another --out."
            ) from error
        yield
