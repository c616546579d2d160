"""Work for other processes, which must be importable there."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from medsimclr.errors import SlideError

__all__ = ["BEATS", "hold_python_for_ever", "wait_for_ever", "work"]

BEATS = 12


class _UnpicklableError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def work(task: str, alive: Callable[[], None]) -> str:
    """Return the task, or fail in the way that it names."""
    match task:
        case "abort":
            os.abort()
        case "die with words":
            os.write(2, b"libslide: assertion failed:\n tile\x1b != NULL\n\n")
            os.abort()
        case "exit":
            os._exit(7)
        case "refuse":
            raise SlideError("this slide is no good")
        case "refuse a strange name":
            raise SlideError("no slide: x\ny \udcff \x1b[2J é 漢.svs")
        case "crash":
            raise ZeroDivisionError("a bug")
        case "crash oddly":
            raise _UnpicklableError(1, 2)
        case "print":
            os.write(1, b"native words\n" * 20_000)
            sys.stderr.flush()
        case "hang":
            time.sleep(600)
        case "beat":
            for _ in range(BEATS):
                time.sleep(0.1)
                alive()
        case _ if task.startswith("fill "):
            _fill(task.removeprefix("fill "))
    return task


def _fill(how: str) -> None:
    one_gb = 1 << 30
    if how == "bytes":
        bytearray(one_gb)
    elif how == "numpy":
        np.zeros(one_gb, np.uint8)
    elif how == "opencv":
        cv2.resize(np.zeros((8, 8, 3), np.uint8), (20_000, 20_000))
    elif how == "wrapped":
        try:
            bytearray(one_gb)
        except MemoryError as error:
            raise SlideError("it cannot be decoded: ") from error
    elif how == "slowly":
        blocks = []
        for _ in range(1024):
            blocks.append(bytearray(os.urandom(1 << 20)))


def wait_for_ever(pid_file: Path, alive: Callable[[], None]) -> None:
    """Write the process id and wait."""
    _say_pid(pid_file)
    signal.pause()


def hold_python_for_ever(pid_file: Path, alive: Callable[[], None]) -> None:
    """Write the process id and wait in native code that lets no thread of Python run."""
    _say_pid(pid_file)
    ctypes.PyDLL(None).pause()


def _say_pid(pid_file: Path) -> None:
    partial = pid_file.with_suffix(".partial")
    partial.write_text(str(os.getpid()))
    partial.replace(pid_file)
