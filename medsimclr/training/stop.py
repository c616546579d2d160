"""A signal sets a flag; the loop polls it, checkpoints and ends.

A command that is still importing and opening has nothing to save, and cannot stop anywhere: it too
only remembers the signal, and the loop finds it after its first step.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["SIGNALS", "StopFlag", "remember_signals", "stop_on_signals"]

_OF_SCHEDULERS = (signal.SIGTERM, signal.SIGUSR1)
SIGNALS = (*_OF_SCHEDULERS, signal.SIGINT)
"""What schedulers send, and Ctrl-C."""


class StopFlag:
    """Which signal asked for an end, if any."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def set(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal; a second Ctrl-C ends at once."""
        if self.signal is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


def remember_signals() -> None:
    """Remember from now on what schedulers send, to the end of this process.

    For a command line whose training is about to start. Ctrl-C ends it at once until then.
    """
    flag = StopFlag()
    for number in _OF_SCHEDULERS:
        signal.signal(number, flag.set)


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Catch SIGTERM, SIGUSR1 and SIGINT for the time of a loop; what was remembered counts."""
    remembered = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    flag = remembered if isinstance(remembered, StopFlag) else StopFlag()
    before = {number: signal.signal(number, flag.set) for number in SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
