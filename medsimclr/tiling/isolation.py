"""Run a piece of work in a process of its own: one bad byte in a slide can abort OpenSlide.

The processes are forked from a server that has imported the readers once (see
`multiprocessing`, forkserver), so that a slide costs milliseconds and not a start of Python.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

from medsimclr.errors import MedSimCLRError, SlideError

__all__ = ["run_isolated"]

Task = TypeVar("Task")
Result = TypeVar("Result")


class _Child(Generic[Task]):
    def __init__(self, work: Callable[[Task], object], task: Task) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([work.__module__])
        self.task = task
        self.connection, theirs = context.Pipe(duplex=False)
        self.process: BaseProcess = context.Process(
            target=_report, args=(theirs, work, task), daemon=True
        )
        self.process.start()
        theirs.close()

    def outcome(self) -> object:
        try:
            answer: object = self.connection.recv()
        except EOFError:
            self.process.join()
            code = self.process.exitcode or 0
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            answer = SlideError(
                f"its reader ended by {how}; the file is damaged, or memory ran out"
            )
        self.process.join()
        self.connection.close()
        return answer


def run_isolated(
    work: Callable[[Task], Result], tasks: Sequence[Task], *, n_processes: int
) -> Iterator[tuple[Task, Result | MedSimCLRError]]:
    """Do every task in its own process, up to `n_processes` at once; give results as they end.

    Args:
        work: an importable function; the errors of ours that it raises become results.
        tasks: its picklable arguments.
        n_processes: how many run at once.

    Raises:
        Exception: whatever else `work` raised; the processes still running are ended.
    """
    waiting = list(reversed(tasks))
    running: dict[Connection, _Child[Task]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < n_processes:
                child = _Child(work, waiting.pop())
                running[child.connection] = child
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)
                child = running.pop(connection)
                answer = child.outcome()
                if isinstance(answer, Exception) and not isinstance(answer, MedSimCLRError):
                    raise answer
                yield child.task, answer  # type: ignore[misc]
    finally:
        for child in running.values():
            child.process.terminate()
            child.process.join()


def _end_with_parent() -> None:
    # A killed parent has dropped its lock: going on would be a second writer in the next run.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _report(connection: Connection, work: Callable[[Task], object], task: Task) -> None:
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        connection.send(work(task))
    except Exception as error:  # carried to the parent, which raises or reports it
        connection.send(error)
