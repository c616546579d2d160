"""Run a piece of work in a process of its own: one bad byte in a slide can abort OpenSlide.

The processes are forked from a server that has imported the readers once (see
`multiprocessing`, forkserver), so that a slide costs milliseconds and not a start of Python. Each
has a limit of memory (where the system counts it: Linux), and is killed when it is silent too long.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

from medsimclr.errors import MedSimCLRError, SlideError
from medsimclr.tiling.confined import ALIVE, run_confined

__all__ = ["run_isolated"]

Task = TypeVar("Task")
Result = TypeVar("Result")

# Signs of life for each silent_seconds: a few may be late without harm.
_BEATS = 10
# A process killed while it waits for a dead network disk ends only when the disk answers.
_KILL_SECONDS = 5.0
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_WORDS_BYTES = 1 << 16
_SHOWN_WORDS = 200


def run_isolated(
    work: Callable[[Task, Callable[[], None]], Result],
    tasks: Sequence[Task],
    *,
    n_processes: int,
    memory_mb: int,
    silent_seconds: float,
) -> Iterator[tuple[Task, Result | MedSimCLRError]]:
    """Do every task in its own process, up to `n_processes` at once; give results as they end.

    Args:
        work: an importable function (not one of `__main__`) of a task and of `alive`, which it
            calls, from its own thread, whenever it gets on; calling it often costs nothing. The
            errors of ours that it raises become results.
        tasks: its picklable arguments.
        n_processes: how many run at once.
        memory_mb: what one process may allocate for its task, MB.
        silent_seconds: longest time without a call of `alive`, after which a process is killed.

    Raises:
        Exception: whatever else `work` raised, once all the other tasks are done.
    """
    waiting = list(reversed(tasks))
    running: dict[Connection, _Child[Task]] = {}
    unexpected: list[Exception] = []
    try:
        while waiting or running:
            while waiting and len(running) < n_processes:
                child = _Child(work, waiting.pop(), memory_mb, silent_seconds)
                running[child.connection] = child
            for child, answer in _answers(list(running.values())):
                del running[child.connection]
                child.close()
                if isinstance(answer, Exception) and not isinstance(answer, MedSimCLRError):
                    unexpected.append(answer)
                else:
                    yield child.task, answer  # type: ignore[misc]
        if unexpected:
            unexpected[0].add_note(f"{len(unexpected)} of {len(tasks)} tasks failed unexpectedly.")
            raise unexpected[0]
    finally:
        for child in running.values():
            child.process.kill()
            child.close()


class _Child(Generic[Task]):
    def __init__(
        self,
        work: Callable[[Task, Callable[[], None]], object],
        task: Task,
        memory_mb: int,
        silent_seconds: float,
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([work.__module__])
        self.task = task
        self.silent_seconds = silent_seconds
        self.connection, answers = context.Pipe(duplex=False)
        # A full pipe swallows further words; waiting for a reader would be a hang.
        self.words, their_words = context.Pipe(duplex=False)
        for end in (self.words, their_words):
            os.set_blocking(end.fileno(), False)
        beat_seconds = silent_seconds / _BEATS
        arguments = (answers, their_words, work, task, memory_mb, beat_seconds)
        self.process: BaseProcess = context.Process(
            target=run_confined, args=arguments, daemon=True
        )
        with _bare_start():
            self.process.start()
        answers.close()
        their_words.close()
        self.deadline = time.monotonic() + silent_seconds

    def listen(self) -> object:
        """Return ALIVE, or the result or error with which the work ended."""
        try:
            message = self.connection.recv_bytes()
            if message == ALIVE:
                self.deadline = time.monotonic() + self.silent_seconds
                return ALIVE
            answer: object = pickle.loads(message)
        except Exception:  # a reader with damaged memory may send anything, or nothing
            self.process.join(_KILL_SECONDS)
            return SlideError(
                f"its reader ended by {_how(self.process.exitcode)}; the file is damaged, or "
                f"memory ran out{self._last_words()}"
            )
        if isinstance(answer, MedSimCLRError):
            # Native libraries quote paths as they are, with newlines and bytes that are no text.
            answer.args = (_one_line(str(answer)),)
        return answer

    def give_up(self) -> SlideError:
        """Kill a process that is silent for too long."""
        self.process.kill()
        return SlideError(
            f"it gave no tile for {self.silent_seconds:g} s and was given up; the file is damaged "
            "or its disk is slow: copy it anew, or raise --set slide_seconds."
        )

    def close(self) -> None:
        """Wait for the end of a process that has answered or was killed, and free its pipes."""
        self.process.join(_KILL_SECONDS)
        self.process.kill()
        self.process.join(_KILL_SECONDS)
        self.connection.close()
        self.words.close()

    def _last_words(self) -> str:
        """Return the last line that its libraries printed, as a clause."""
        try:
            text = os.read(self.words.fileno(), _WORDS_BYTES).decode("utf-8", "replace")
        except BlockingIOError:
            return ""
        line = _one_line((text.strip().splitlines() or [""])[-1].strip())[:_SHOWN_WORDS]
        return f"; it said: {line}" if line else ""


def _answers(children: Sequence[_Child[Task]]) -> Iterator[tuple[_Child[Task], object]]:
    """Wait for something to happen; give the children that ended or were given up."""
    asleep = time.monotonic()
    seconds = max(0.0, min(child.deadline for child in children) - asleep)
    ready = wait([child.connection for child in children], timeout=seconds)
    # A suspended job was suspended with its children: what we overslept is no silence of theirs.
    overslept = max(0.0, time.monotonic() - asleep - seconds)
    for child in children:
        child.deadline += overslept
        if child.connection in ready:
            answer = child.listen()
            if answer is not ALIVE:
                yield child, answer
        elif child.deadline <= time.monotonic() and not child.connection.poll():
            yield child, child.give_up()


def _one_line(text: str) -> str:
    """Escape whatever would break a line or cannot be written as UTF-8."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _how(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}"
    return f"signal {signal.Signals(-exit_code).name}"


@contextmanager
def _bare_start() -> Iterator[None]:
    """Start processes that do not import `__main__` and whose libraries use one thread.

    Importing `__main__` would cost each process 0.1 s, and would run a script without a guard
    again. The settings count for the fork server, which imports the libraries.
    """
    main = sys.modules["__main__"]
    before = {name: os.environ.get(name) for name in _THREAD_SETTINGS}
    sys.modules["__main__"] = types.ModuleType("__main__")
    os.environ.update(dict.fromkeys(_THREAD_SETTINGS, "1"))
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
