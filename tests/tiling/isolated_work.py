"""Work for other processes, which must be importable there."""

import os
import signal
from pathlib import Path

from medsimclr.errors import SlideError

__all__ = ["wait_for_ever", "work"]


def work(task: str) -> str:
    """Return the task, or fail in the way that it names."""
    if task == "abort":
        os.abort()
    if task == "exit":
        os._exit(7)
    if task == "refuse":
        raise SlideError("this slide is no good")
    if task == "crash":
        raise ZeroDivisionError("a bug")
    return task


def wait_for_ever(pid_file: Path) -> None:
    """Write the process id and wait."""
    partial = pid_file.with_suffix(".partial")
    partial.write_text(str(os.getpid()))
    partial.replace(pid_file)
    signal.pause()
