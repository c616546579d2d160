"""The child's side of `isolation`: limits first, then the work, then one message with its outcome.

Messages to the parent are bytes: empty for a sign of life, else a pickled result or exception.
"""

import errno
import fcntl
import multiprocessing
import os
import pickle
import resource
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import cv2

from medsimclr.errors import MedSimCLRError, SlideError

__all__ = ["ALIVE", "run_confined"]

Task = TypeVar("Task")

ALIVE = b""
_STATM = Path("/proc/self/statm")


def run_confined(
    answers: Connection,
    words: Connection,
    work: Callable[[Task, Callable[[], None]], object],
    task: Task,
    memory_mb: int,
    beat_seconds: float,
) -> None:
    """Do one task in this process, within its limits, and tell the parent how it ended.

    Args:
        answers: where signs of life and the outcome go.
        words: where whatever native libraries print goes; the terminal is the parent's.
        work: called with the task and a function that says "still alive".
        task: its first argument.
        memory_mb: what it may allocate beyond what the process has now, MB.
        beat_seconds: shortest time between two signs of life.
    """
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    for stream in (1, 2):
        os.dup2(words.fileno(), stream)
    cv2.setNumThreads(1)
    _limit_memory(memory_mb)
    try:
        answer = pickle.dumps(work(task, _heartbeat(answers, every_seconds=beat_seconds)))
    except Exception as error:  # carried to the parent, which raises or reports it
        answer = _packed(_out_of_memory(memory_mb) if _is_out_of_memory(error) else error)
    answers.send_bytes(answer)


def _end_with_parent() -> None:
    # A killed parent has dropped its lock: going on would be a second writer in the next run.
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    # The thread cannot run while native code holds the interpreter, so the kernel is asked too: the
    # sentinel is a pipe that the parent's death closes, and SIGIO, by default, ends a process.
    sentinel = parent.sentinel
    fcntl.fcntl(sentinel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(sentinel, fcntl.F_SETFL, fcntl.fcntl(sentinel, fcntl.F_GETFL) | os.O_ASYNC)


def _limit_memory(memory_mb: int) -> None:
    """Limit private writable memory; address space would count libraries and mapped files too."""
    # A core dump would hold pixels and names of patients.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not _STATM.exists():  # only Linux enforces this limit
        return
    n_data_pages = int(_STATM.read_text().split()[5])
    limit = n_data_pages * resource.getpagesize() + (memory_mb << 20)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _heartbeat(answers: Connection, *, every_seconds: float) -> Callable[[], None]:
    said = time.monotonic()

    def alive() -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= every_seconds:
            said = now
            answers.send_bytes(ALIVE)

    return alive


def _is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out anywhere below an error: readers wrap what they catch."""
    cause: BaseException | None = error
    while cause is not None:
        if (
            isinstance(cause, MemoryError)
            or (isinstance(cause, OSError) and cause.errno == errno.ENOMEM)
            or (isinstance(cause, cv2.error) and cause.code == cv2.Error.StsNoMem)
            # The stack of a thread is memory too.
            or (isinstance(cause, RuntimeError) and str(cause) == "can't start new thread")
        ):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _out_of_memory(memory_mb: int) -> SlideError:
    return SlideError(
        f"the slide needs more than the {memory_mb} MB of memory that one slide may take; it is "
        "damaged or claims too many pixels, else raise --set slide_memory_mb."
    )


def _packed(error: Exception) -> bytes:
    if not isinstance(error, MedSimCLRError):
        # A traceback does not travel, a note does.
        error.add_note("".join(traceback.format_exception(error)))
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)
    except Exception:  # an error whose class cannot be rebuilt from its arguments
        return pickle.dumps(RuntimeError("".join(traceback.format_exception(error))))
    return packed
