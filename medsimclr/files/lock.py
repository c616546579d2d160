"""One writer per output, held by an advisory lock that dies with its processes."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from medsimclr.errors import LockedError
from medsimclr.files.atomic import output_errors, sync_folder
from medsimclr.files.output_folder import check_output_folder

__all__ = ["HeldLock", "exclusive_lock"]


class HeldLock:
    """A lock that is held, to be handed to the processes that help to write the output.

    As an argument of a process that is started, it keeps the lock until that process too has ended:
    when a run is killed, its readers may live a moment longer, and would write into the next run.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __reduce__(self) -> tuple[Callable[[Any], "HeldLock"], tuple[Any]]:
        return _inherit, (DupFd(self._handle),)


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[HeldLock]:
    """Hold `folder` for this process, creating it if needed.

    The lock file stands beside the folder: inside, it would be part of the result.

    Raises:
        ConfigError: a file is in its place.
        LockedError: another process holds it; nothing waits.
        OutputError: the place cannot be written.
    """
    check_output_folder(folder)
    with output_errors(folder):
        _make_durable(folder)
        real = folder.resolve()
        lock = real.parent / f".{real.name}.lock"
        handle = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with output_errors(folder):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LockedError(
                    f"output {str(folder)!r} is being written by another process; wait until it "
                    "ends or choose another --out."
                ) from error
        yield HeldLock(handle)
    finally:
        # Not unlocked: a helper that could not be ended still holds it.
        with output_errors(folder):
            os.close(handle)


def _inherit(handle: Any) -> HeldLock:
    # Never closed here: the end of the process does it.
    return HeldLock(handle.detach())


def _make_durable(folder: Path) -> None:
    """Create a folder and its parents; their names are on the disk when this returns."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing or [folder]:
        sync_folder(path.parent)
