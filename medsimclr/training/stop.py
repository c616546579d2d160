"""A signal sets a flag; the loop polls it, checkpoints and ends."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["SIGNALS", "StopFlag", "stop_on_signals"]

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
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


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Catch SIGTERM, SIGUSR1 (what schedulers send) and SIGINT for the time of a loop."""
    flag = StopFlag()
    before = {number: signal.signal(number, flag.set) for number in SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
