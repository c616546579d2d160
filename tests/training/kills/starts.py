"""Start trainings, one process or several, whole or to be killed at a named point."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch.distributed import TCPStore

__all__ = ["Ended", "KillAt", "Poison", "SignalAt", "Starts"]

_ROOT = Path(__file__).parents[3]
_SECONDS = 60
"""After which a process is called hanging."""


@dataclass(frozen=True)
class KillAt:
    """Where a start is killed, when there for the n-th time."""

    point: str
    n: int
    rank: int = 0
    whole_group: bool = True
    """Or the process of that rank alone."""


@dataclass(frozen=True)
class SignalAt:
    """Which signal comes when, to whom."""

    number: signal.Signals
    seconds: float
    """After the file is there."""
    after: Path | None = None
    """A file with content; None is the moment from which on every process remembers signals."""
    rank: int | None = None
    """None is the whole process group, loader workers included."""
    step_seconds: float = 0.1
    """How much longer each step takes, so that the signal comes before the end."""


@dataclass(frozen=True)
class Poison:
    """In which step of which process the loss is not a number."""

    n: int
    rank: int


@dataclass(frozen=True)
class Ended:
    """How a start ended."""

    codes: list[int | str]
    """Exit code of each rank, minus the number of a deadly signal, or "hanging"."""
    outputs: list[str]
    was_killed: bool


class Starts:
    """A process that forks trainings; see warm.py."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.training.kills.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=_ROOT,
        )
        if self._process.stdout.readline() != "ready\n":
            self.close()
            pytest.fail("the process that starts trainings does not come up; see stderr")

    def run(
        self,
        *words: object,
        n_ranks: int = 1,
        kill: KillAt | None = None,
        signal_at: SignalAt | None = None,
        poison: Poison | None = None,
    ) -> Ended:
        """Run a `medsimclr` command, in as many processes as there are ranks, to their ends."""
        logs = [self._folder / f"output_{rank}" for rank in range(n_ranks)]
        fired, remembered = self._folder / "fired", self._folder / "remembered"
        for path in (fired, *self._folder.glob("remembered_*")):
            path.unlink(missing_ok=True)
        # Here and not in rank 0, as under torchrun: it outlives any of the processes.
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        request = {
            "words": [str(word) for word in words],
            "logs": [str(log) for log in logs],
            "port": store.port,
            "seconds": _SECONDS,
            "kill": kill and {**vars(kill), "fired": str(fired)},
            "poisoned": poison and vars(poison),
            "signal": signal_at
            and {
                **vars(signal_at),
                "after": [str(signal_at.after)]
                if signal_at.after
                else [f"{remembered}_{rank}" for rank in range(n_ranks)],
                "remembered": str(remembered),
            },
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        codes, orphans_ended = json.loads(self._process.stdout.readline())
        assert orphans_ended, "a loader worker outlives its training"
        outputs = [log.read_text(errors="replace") if log.exists() else "" for log in logs]
        return Ended(codes, outputs, fired.exists())

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=30)
