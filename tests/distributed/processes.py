"""Real processes that form a group over gloo, for the tests of everything distributed.

    def _summed(group, value):           # at the top of a test module: it travels by its name
        return group.sum(torch.tensor(value))

    def test_sum(processes):             # the fixture stands in tests/conftest.py
        assert processes.run(_summed, 2.0, size=2) == [torch.tensor(4.0)] * 2

Every process calls the function with its Group and the arguments, within `joined_group`; results
(anything picklable) come back in order of rank. `run` fails the test with the traceback of a
process that raised; `outcomes` returns a Failure in its place; `started` hands out the running
processes, to be stopped or killed.

The processes are forked from a launcher that has imported torch and runs nothing else, so four of
them start in a fifth of a second and share nothing with earlier tests.
"""

import multiprocessing
import os
import pickle
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

from medsimclr.distributed.group import joined_group

__all__ = ["Failure", "Processes", "Started"]

Work = Callable[..., Any]


@dataclass(frozen=True)
class Failure:
    """How a process failed: by an exception, or without a word."""

    kind: str
    """Name of the exception's class, or "died"."""
    sentence: str
    exit_code: int
    """What the command line would exit with, or the negative number of the deadly signal."""
    trace: str = ""


@dataclass(frozen=True)
class Started:
    """Processes at work."""

    pids: list[int]
    _folder: Path

    def send(self, rank: int, number: signal.Signals) -> None:
        """Send a signal to the process of a rank."""
        os.kill(self.pids[rank], number)

    def outcome(self, rank: int, *, within_seconds: float) -> Any:
        """Wait for the result, or the Failure, of a rank."""
        path, deadline = self._folder / str(rank), time.monotonic() + within_seconds
        while not path.exists():
            assert time.monotonic() < deadline, f"process {rank} did not end in {within_seconds} s"
            time.sleep(0.005)
        return pickle.loads(path.read_bytes())


class Processes:
    """Starts groups of processes; made once for all tests, by the fixture `processes`."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, far_end = context.Pipe()
        self._launcher = context.Process(target=_launch, args=(far_end,))
        self._launcher.start()
        far_end.close()

    def close(self) -> None:
        """End the launcher."""
        self._connection.close()
        self._launcher.join(timeout=10)
        self._launcher.kill()

    def run(self, work: Work, *arguments: Any, size: int, timeout_seconds: float = 30) -> list[Any]:
        """Return what the function returned in each process; an exception fails the test."""
        outcomes = self.outcomes(work, *arguments, size=size, timeout_seconds=timeout_seconds)
        for rank, outcome in enumerate(outcomes):
            # A lost process is the consequence of another's failure.
            if isinstance(outcome, Failure) and outcome.kind != "LostProcessError":
                raise AssertionError(f"process {rank} of {size} failed\n{outcome}\n{outcome.trace}")
        assert not any(isinstance(outcome, Failure) for outcome in outcomes), outcomes
        return outcomes

    def outcomes(
        self, work: Work, *arguments: Any, size: int, timeout_seconds: float = 30
    ) -> list[Any]:
        """Return result or Failure of each process."""
        with self.started(work, *arguments, size=size, timeout_seconds=timeout_seconds) as started:
            return [started.outcome(rank, within_seconds=120) for rank in range(size)]

    @contextmanager
    def started(
        self, work: Work, *arguments: Any, size: int, timeout_seconds: float
    ) -> Iterator[Started]:
        """Give the running processes; what still runs at the end is killed."""
        with tempfile.TemporaryDirectory() as folder:
            # Here and not in rank 0, as under torchrun: it outlives any of the processes.
            store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
            order = (work, arguments, size, timeout_seconds, store.port, folder)
            self._connection.send_bytes(pickle.dumps(order))
            started = Started(self._connection.recv(), Path(folder))
            try:
                yield started
            finally:
                for rank in range(size):
                    if not (Path(folder) / str(rank)).exists():
                        started.send(rank, signal.SIGKILL)
                self._connection.recv()


def _launch(connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            work, arguments, size, timeout_seconds, port, folder = pickle.loads(
                connection.recv_bytes()
            )
        except EOFError:
            return
        ranks: dict[int, int] = {}
        for rank in range(size):
            pid = os.fork()
            if pid == 0:
                connection.close()
                os.environ.update(_environment(rank, size, port))
                _work(work, arguments, timeout_seconds, Path(folder) / str(rank))
            ranks[pid] = rank
        connection.send(list(ranks))
        while ranks:
            pid, status = os.wait()
            path = Path(folder) / str(ranks.pop(pid))
            if not path.exists():
                code = os.waitstatus_to_exitcode(status)
                _write(path, Failure("died", f"process ended with {code}", code))
        connection.send("all have ended")


def _environment(rank: int, size: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


def _work(work: Work, arguments: tuple[Any, ...], timeout_seconds: float, path: Path) -> None:
    """Do the work of one process and end it, without what the launcher would do at its end."""
    torch.set_num_threads(1)
    try:
        with joined_group(torch.device("cpu"), timeout_seconds=timeout_seconds) as group:
            outcome = work(group, *arguments)
        assert not torch.distributed.is_initialized(), "a group was not left"
    except BaseException as error:
        code = getattr(error, "exit_code", 1)
        outcome = Failure(type(error).__name__, str(error), code, traceback.format_exc())
    _write(path, outcome)
    os._exit(0)


def _write(path: Path, outcome: Any) -> None:
    path.with_suffix(".partial").write_bytes(pickle.dumps(outcome))
    path.with_suffix(".partial").rename(path)
