"""Whether other processes on the machine slow a training that computes with several threads.

The threads of a step wait for one another many times: one that has to give its core to a neighbour
stops all of them. On 2 cores beside busy neighbours two threads took four times as long as one
(DECISIONS.md). The number of threads decides how sums round, so it is never changed on the way;
the user is told.
"""

import time
from pathlib import Path

__all__ = ["Crowding", "waiting_seconds"]

_SCHEDSTAT = Path("/proc/self/schedstat")
# A loader process of our own takes less; see DECISIONS.md.
_LEAST_SHARE = 0.25
_JUDGED_STEP = 20


class Crowding:
    """How much of its time this process waits for a core, from now on.

    Args:
        n_threads: threads that compute; one has nobody to wait for.
    """

    def __init__(self, *, n_threads: int) -> None:
        self._n_threads = n_threads
        self._n_steps = 0
        self._start = time.monotonic()
        self._waited_before = waiting_seconds()

    def after_step(self) -> str | None:
        """Return advice after the twentieth step, where threads wait much; else None."""
        self._n_steps += 1
        if self._n_steps != _JUDGED_STEP or self._n_threads == 1 or self._waited_before is None:
            return None
        waited = waiting_seconds()
        assert waited is not None
        share = (waited - self._waited_before) / (time.monotonic() - self._start)
        if share < _LEAST_SHARE:
            return None
        return (
            f"other processes keep this one waiting for a core {share:.0%} of the time, which "
            f"slows {self._n_threads} threads more than one: with --set threads=1 and another "
            "--out it may be faster"
        )


def waiting_seconds() -> float | None:
    """Return how long the main thread could have run but had no core; None where none says so."""
    try:
        # Linux: nanoseconds on a core, nanoseconds waiting for one, number of turns.
        return int(_SCHEDSTAT.read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return None
