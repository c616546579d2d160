"""`medsimclr pretrain --dry-run`: what would be trained and how long, with nothing written.

Three real steps are computed: what does not fit the memory or diverges at once is noticed here and
not in the queue of a cluster.
"""

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.errors import NonFiniteLossError
from medsimclr.training.plan import build_optimizer, build_plan
from medsimclr.training.pretrain import Pretraining, contrastive_gradient, prepare
from medsimclr.training.run_directory import check_run
from medsimclr.training.run_log import format_seconds
from medsimclr.training.session import Session, load_share, open_session

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
    """Check a pretraining and compute a few steps of it; nothing is written.

    Raises:
        ConfigError: settings, split or an output that is there do not fit.
    """
    with open_session(config) as session:
        pretraining = prepare(config, session)
        check_run(config.out, pretraining.lineage)
        plan = build_plan(config, n_tiles=len(pretraining.tiles), n_views=2)
        seconds = _seconds_per_step(config, pretraining, session)
        device = session.compute.device
        is_cuda = device.type == "cuda"
        return DryRun(
            tiles=len(pretraining.tiles),
            patients=len(pretraining.lineage.patients_unlabelled),
            encoder_parameters=_n_parameters(pretraining.model.encoder),
            head_parameters=_n_parameters(pretraining.model.head),
            stem=pretraining.network.stem,
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


def _seconds_per_step(config: PretrainConfig, pretraining: Pretraining, session: Session) -> float:
    """Return the time of the last of a few steps, at a learning rate of 0."""
    model = pretraining.model
    optimizer = build_optimizer(model, name=config.optimizer, lr=0.0, weight_decay=0.0)
    accumulate = contrastive_gradient(config, model, session)
    batches = load_share(
        config,
        session,
        tiles=pretraining.tiles,
        policy=pretraining.policy,
        kind="contrastive",
        view_px=config.view_px,
        steps=range(_N_STEPS),
    )
    seconds = 0.0
    start = time.perf_counter()
    for batch in batches:
        optimizer.zero_grad(set_to_none=True)
        loss = accumulate(batch)["loss"].item()
        optimizer.step()
        seconds, start = time.perf_counter() - start, time.perf_counter()
        if not math.isfinite(loss):
            raise NonFiniteLossError(f"the loss of the first step must be finite, got {loss}.")
    return seconds


def _n_parameters(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
