"""Work for another process, which must be importable there."""

import os
import signal
from pathlib import Path

from medsimclr.files.lock import HeldLock

__all__ = ["hold"]


def hold(lock: HeldLock, pipe: str) -> None:
    """Say the process id and wait, holding the lock that came with the arguments."""
    assert isinstance(lock, HeldLock)
    Path(pipe).write_text(f"{os.getpid()}\n")
    signal.pause()
