"""Our pretraining within a budget of CPU time: what a step costs, and how many epochs that buys.

A step is reading, drawing the views, forward, loss, backward and update, in one process
(`workers` 0). Its cost is the process's CPU seconds, user and system, of all threads: neighbours on
the machine change wall time far more.
"""

import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.optim.schedule import total_steps
from medsimclr.training.pretrain import pretrain

__all__ = [
    "EnoughStepsError",
    "StepClock",
    "epochs_within",
    "pretrain_timed",
    "step_cpu_seconds",
    "throwaway",
]

# The first steps allocate memory and choose kernels.
_WARM_UP_STEPS = 2


class EnoughStepsError(Exception):
    """Ends a pretraining that only measures its steps."""


@dataclass
class StepClock:
    """CPU time of this process at the end of each step."""

    marks: list[float] = field(default_factory=list)
    """Seconds of CPU time of this process."""

    def tick(self) -> None:
        """Note the end of a step."""
        self.marks.append(time.process_time())

    def step_seconds(self) -> list[float]:
        """Return the CPU seconds of each step but the first, whose start was not noted."""
        return [end - start for start, end in pairwise(self.marks)]


def step_cpu_seconds(config: PretrainConfig, *, n_steps: int) -> float:
    """Return the median CPU seconds of a step of a pretraining that is stopped after n_steps.

    Args:
        config: as for the real run, but for `out`, a folder of its own that is thrown away.
        n_steps: steps that count, beside three that do not.
    """
    clock = StepClock()

    def progress(done: int, total: int, line: str) -> None:
        if done:
            clock.tick()
        if done and done == min(n_steps + _WARM_UP_STEPS + 1, total):
            raise EnoughStepsError

    with suppress(EnoughStepsError):
        pretrain(_every_step_said(config), progress=progress)
    return statistics.median(clock.step_seconds()[_WARM_UP_STEPS:])


def pretrain_timed(config: PretrainConfig) -> list[float]:
    """Pretrain, or go on after a kill; return the CPU seconds of the steps done by this process."""
    clock = StepClock()

    def progress(done: int, total: int, line: str) -> None:
        if done:
            clock.tick()

    pretrain(_every_step_said(config), progress=progress)
    return clock.step_seconds()


def epochs_within(cpu_seconds: float, *, step_seconds: float, n_tiles: int, batch_size: int) -> int:
    """Return the most whole epochs whose steps fit into the budget, at least one.

    Whole epochs, since the cosine ends with the run and a run is planned in epochs.
    """
    epochs = 1
    while total_steps(n_tiles, batch_size, epochs + 1) * step_seconds <= cpu_seconds:
        epochs += 1
    return epochs


def _every_step_said(config: PretrainConfig) -> PretrainConfig:
    return config.with_changes(workers=0, threads=1, log_seconds=1e-9, health_tiles=0)


def throwaway(work: Path, name: str) -> Path:
    """Return a folder for a run that is only measured, new each time."""
    folder = work / "measured" / f"{name}-{time.time_ns()}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder
