"""`medsimclr pretrain --dry-run`: what would be trained and how long, with nothing written.

Three real steps are computed: what does not fit the memory, or gives no finite loss at once, is
noticed here and not after hours in the queue of a cluster. What is known is said before what may
end the process is done: no process outlives a system that runs out of memory.
"""

import re
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.data.split import is_in
from medsimclr.distributed.agreement import on_main
from medsimclr.files.output_folder import check_output_folder
from medsimclr.models.simclr import SimCLR
from medsimclr.training.loop import newest_step
from medsimclr.training.material import open_material, patients_in
from medsimclr.training.networks import Network, build_simclr
from medsimclr.training.plan import Plan
from medsimclr.training.pretrain import contrastive_gradient, prepare
from medsimclr.training.run_directory import check_run
from medsimclr.training.run_log import Progress, format_seconds, silent
from medsimclr.training.session import Session, open_session
from medsimclr.training.step import take_step
from medsimclr.training.tile_training import TileTraining, load_share, set_up

__all__ = ["Cost", "Course", "DryRun", "NetworkSize", "dry_run"]

_N_STEPS = 3


@dataclass(frozen=True)
class NetworkSize:
    """What is known before the network is built."""

    encoder_parameters: int
    head_parameters: int
    stem: str
    weights_mb: float
    """Weights with their gradients and momentum, MB of 10^6 bytes; activations come on top."""

    def lines(self) -> list[str]:
        """Return what a person reads."""
        millions = (self.encoder_parameters / 1e6, self.head_parameters / 1e6)
        return [
            f"encoder {millions[0]:.2f} M parameters ({self.stem} stem), head {millions[1]:.2f} M: "
            f"{self.weights_mb:.0f} MB with gradients and momentum, and activations on top"
        ]


@dataclass(frozen=True)
class Course:
    """On what a training would be done, and how; known before the first step."""

    tiles: int
    patients: int
    test_tiles: int
    test_patients: int
    steps: int
    steps_done: int
    """What an earlier start of the same command did and saved."""
    warmup_share: float
    """What was asked for of the epochs; less than a step of it is none, as in the reference."""
    warmup_steps: int
    peak_lr: float
    device: str
    precision: str
    threads: int
    processes: int

    def lines(self) -> list[str]:
        """Return what a person reads."""
        return [
            f"would train on {self.tiles} tiles of {self.patients} patients, and keep "
            f"{self.test_tiles} tiles of {self.test_patients} for the test",
            f"{self.steps} steps, {self._warmup()} a rate of {self.peak_lr:.4g}",
            f"{self.processes} process(es) on {self.device}, {self.precision}, {self.threads} "
            "thread(s)",
            *self._done(),
        ]

    def _warmup(self) -> str:
        if self.warmup_steps or not self.warmup_share:
            return f"{self.warmup_steps} of them warm-up to"
        return f"none of them warm-up (a step is more than {self.warmup_share:g} of the epochs), at"

    def _done(self) -> list[str]:
        if self.steps_done == self.steps:
            return ["already finished: the same command would do nothing more"]
        if self.steps_done > 0:
            return [f"would go on after step {self.steps_done} of {self.steps}"]
        return []


@dataclass(frozen=True)
class Cost:
    """What a few steps took."""

    seconds_per_step: float
    """Of the last one; the first ones are slower than those of a run."""
    memory_mb: float
    """Most memory that this process had at once, MB of 10^6 bytes, without what the processes that
    read tiles have; on a CPU the network's is in it."""
    gpu_memory_mb: float | None
    """Peak of this process's GPU; None on a CPU."""

    def lines(self, n_steps: int) -> list[str]:
        """Return what a person reads of a training that has `n_steps` left."""
        whole = format_seconds(n_steps * self.seconds_per_step)
        on_gpu = "" if self.gpu_memory_mb is None else f", {self.gpu_memory_mb:.0f} MB of the GPU"
        return [
            f"{self.seconds_per_step:.2g} s a step: about {whole}; at most {self.memory_mb:.0f} MB "
            f"of memory{on_gpu}"
        ]


@dataclass(frozen=True)
class DryRun:
    """A pretraining as it would be."""

    size: NetworkSize
    course: Course
    cost: Cost | None
    """None where no step is left."""

    def record(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        cost = asdict(self.cost) if self.cost is not None else {}
        return {**asdict(self.size), **asdict(self.course), **cost}


def dry_run(config: PretrainConfig, *, progress: Progress = silent) -> DryRun:
    """Check a pretraining and compute the first steps of it; nothing is written.

    Args:
        config: the pretraining.
        progress: shows what a person reads, each line as soon as it is known.

    Raises:
        ConfigError: settings, split, memory or an output that is there do not fit.
        NonFiniteLossError: see `take_step`.
    """

    def say(lines: Sequence[str]) -> None:
        for line in lines:
            progress(0, 0, line)

    check_output_folder(config.out)
    with open_session(config) as session:
        training = prepare(
            config,
            session,
            progress=progress,
            announce=lambda network: say(_size(network).lines()),
        )
        size = _size(training.network)
        check_run(config, training.lineage)
        plan, optimizer = set_up(config, session, training)
        course = _course(config, session, training, plan, progress=progress)
        say(course.lines())
        if course.steps_done == course.steps:
            return DryRun(size=size, course=course, cost=None)
        cost = Cost(
            seconds_per_step=_seconds_per_step(config, session, training, plan, optimizer),
            memory_mb=_peak_memory_mb(),
            gpu_memory_mb=_peak_gpu_memory_mb(session.compute.device),
        )
        say(cost.lines(course.steps - course.steps_done))
        return DryRun(size=size, course=course, cost=cost)


def _size(network: Network) -> NetworkSize:
    with torch.device("meta"):
        model = build_simclr(network, seed=0)
    weights = list(model.parameters())
    return NetworkSize(
        encoder_parameters=sum(weight.numel() for weight in model.encoder.parameters()),
        head_parameters=sum(weight.numel() for weight in model.head.parameters()),
        stem=network.stem,
        weights_mb=3 * sum(weight.nbytes for weight in weights) / 1e6,
    )


def _course(
    config: PretrainConfig,
    session: Session,
    training: TileTraining[SimCLR],
    plan: Plan,
    *,
    progress: Progress,
) -> Course:
    index = open_material(config.store).index
    test = index.select(is_in("test", index.patient_N, training.split))
    return Course(
        tiles=len(training.tiles),
        patients=len(patients_in(training.tiles)),
        test_tiles=len(test),
        test_patients=len(patients_in(test)),
        steps=plan.total_steps,
        steps_done=on_main(session.group, lambda: newest_step(config.out, progress=progress)),
        warmup_share=config.warmup_share,
        warmup_steps=plan.warmup_steps,
        peak_lr=plan.peak_lr,
        device=str(session.compute.device),
        precision=session.compute.precision,
        threads=torch.get_num_threads(),
        processes=session.group.size,
    )


def _seconds_per_step(
    config: PretrainConfig,
    session: Session,
    training: TileTraining[SimCLR],
    plan: Plan,
    optimizer: torch.optim.Optimizer,
) -> float:
    """Return the time of the last of a few steps."""
    accumulate = contrastive_gradient(config, training.module, session)
    seconds = 0.0
    start = time.perf_counter()
    for step, batch in enumerate(load_share(config, session, training, range(_N_STEPS))):
        take_step(step, batch, optimizer, accumulate, plan=plan, group=session.group)
        seconds, start = time.perf_counter() - start, time.perf_counter()
    return seconds


def _peak_memory_mb() -> float:
    # Not getrusage alone: on Linux a process inherits the peak of the one that started it.
    status = Path("/proc/self/status")
    text = status.read_text(encoding="ascii") if status.is_file() else ""
    peak = re.search(r"^VmHWM:\s*(\d+) kB$", text, re.MULTILINE)
    if peak is not None:
        return int(peak[1]) * 1024 / 1e6
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 1e6


def _peak_gpu_memory_mb(device: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
