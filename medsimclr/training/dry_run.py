"""`medsimclr pretrain --dry-run`: what would be trained and how long, with nothing written.

Three real steps are computed: what does not fit the memory, or gives no finite loss at once, is
noticed here and not after hours in the queue of a cluster.
"""

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.files.output_folder import check_output_folder
from medsimclr.models.simclr import SimCLR
from medsimclr.training.plan import Plan
from medsimclr.training.pretrain import contrastive_gradient, prepare
from medsimclr.training.run_directory import check_run
from medsimclr.training.run_log import format_seconds
from medsimclr.training.session import Session, open_session
from medsimclr.training.step import take_step
from medsimclr.training.tile_training import TileTraining, load_share, set_up

__all__ = ["DryRun", "dry_run"]

_N_STEPS = 3


@dataclass(frozen=True)
class DryRun:
    """A pretraining as it would be."""

    tiles: int
    patients: int
    encoder_parameters: int
    head_parameters: int
    stem: str
    steps: int
    warmup_steps: int
    peak_lr: float
    device: str
    precision: str
    threads: int
    processes: int
    seconds_per_step: float
    """Of the last of a few steps; the first ones are slower than those of a run."""
    gpu_memory_mb: float | None
    """Peak of this process's GPU; None on a CPU."""

    def record(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return what a person reads."""
        millions = (self.encoder_parameters / 1e6, self.head_parameters / 1e6)
        memory = "" if self.gpu_memory_mb is None else f", {self.gpu_memory_mb:.0f} MB of the GPU"
        whole = format_seconds(self.steps * self.seconds_per_step)
        return [
            f"would train on {self.tiles} tiles of {self.patients} patients",
            f"encoder {millions[0]:.2f} M parameters ({self.stem} stem), head {millions[1]:.2f} M",
            f"{self.steps} steps, {self.warmup_steps} of them warm-up to a rate of "
            f"{self.peak_lr:.4g}",
            f"{self.processes} process(es) on {self.device}, {self.precision}, {self.threads} "
            f"thread(s){memory}",
            f"{self.seconds_per_step:.2g} s a step: about {whole}",
        ]


def dry_run(config: PretrainConfig) -> DryRun:
    """Check a pretraining and compute the first steps of it; nothing is written.

    Raises:
        ConfigError: settings, split or an output that is there do not fit.
        NonFiniteLossError: see `take_step`.
    """
    check_output_folder(config.out)
    with open_session(config) as session:
        training = prepare(config, session)
        check_run(config.out, training.lineage)
        plan, optimizer = set_up(config, session, training)
        seconds = _seconds_per_step(config, session, training, plan, optimizer)
        device = session.compute.device
        is_cuda = device.type == "cuda"
        return DryRun(
            tiles=len(training.tiles),
            patients=len(training.lineage.patients_unlabelled),
            encoder_parameters=_n_parameters(training.module.encoder),
            head_parameters=_n_parameters(training.module.head),
            stem=training.network.stem,
            steps=plan.total_steps,
            warmup_steps=plan.warmup_steps,
            peak_lr=plan.peak_lr,
            device=str(device),
            precision=session.compute.precision,
            threads=torch.get_num_threads(),
            processes=session.group.size,
            seconds_per_step=seconds,
            gpu_memory_mb=torch.cuda.max_memory_allocated(device) / 1e6 if is_cuda else None,
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


def _n_parameters(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
