"""CPU time and peak memory of a process with all its descendants, read from Linux's /proc.

`medsimclr tile` works in children of a forkserver, a child of its own: neither RUSAGE_SELF nor
RUSAGE_CHILDREN sees them. A process's stat line holds its own time and that of the children it has
reaped, so the sum over the live tree misses nothing that has ended or is running.
Standard library only: the rivals' environments import it too.

Usage: python benchmarks/process_tree.py       checks the sum against busy children of known time
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

__all__ = ["PeakMemory", "peak_resident_mb", "tree_cpu_seconds"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_SAMPLE_SECONDS = 0.02


def tree_cpu_seconds() -> float:
    """Return user and system seconds of this process, its descendants, and those reaped by them.

    Resolution is a tick, usually 0.01 s, for each process.
    """
    return _own_and_reaped_seconds(os.getpid()) + sum(
        _own_and_reaped_seconds(pid) for pid in _descendants(os.getpid())
    )


class PeakMemory:
    """Sample the peak resident memory of every descendant while a block runs.

    The kernel keeps each process's peak (VmHWM, shared pages included), so that sampling misses
    only what a process adds in its last 20 ms.
    """

    def __init__(self) -> None:
        self.peak_mb = 0.0
        """Largest peak of one process, MB of 10^6 bytes."""
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._sampler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._sampler.join()

    def _sample(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            for pid in _descendants(os.getpid()):
                self.peak_mb = max(self.peak_mb, peak_resident_mb(pid))


def peak_resident_mb(pid: int) -> float:
    """Return VmHWM of a process, MB of 10^6 bytes; 0 where it has ended."""
    try:
        status = (_PROC / str(pid) / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 / 1e6 if lines else 0.0


def _descendants(pid: int) -> Iterator[int]:
    """Yield children and theirs; a process that ends meanwhile has been added to its parent."""
    try:
        lists = [
            task.joinpath("children").read_text() for task in (_PROC / f"{pid}/task").iterdir()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in (int(text) for one in lists for text in one.split()):
        yield child
        yield from _descendants(child)


def _own_and_reaped_seconds(pid: int) -> float:
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    # The name in parentheses may hold spaces; utime, stime, cutime, cstime are fields 14 to 17.
    fields = stat.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _TICKS


def _burn(cpu_seconds: float) -> None:
    start = time.process_time()
    while time.process_time() - start < cpu_seconds:
        pass


def main() -> None:
    """Compare the sum with children of a forkserver that burn a known time."""
    context = multiprocessing.get_context("forkserver")
    for n_children in (0, 1, 4):
        start = tree_cpu_seconds()
        for _ in range(n_children):
            child = context.Process(target=_burn, args=(1.0,))
            child.start()
            child.join()
        print(f"{n_children} children of 1 s each: {tree_cpu_seconds() - start:.2f} s counted")


if __name__ == "__main__":
    main()
