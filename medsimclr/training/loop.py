"""The one training loop: pretrain, finetune and distill give it a loss and batches."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from medsimclr.config.training import TrainingConfig
from medsimclr.errors import CheckpointedError, NonFiniteLossError
from medsimclr.optim.lars import LARS, lars_groups
from medsimclr.optim.schedule import scaled_lr, total_steps, warmup_cosine, warmup_steps
from medsimclr.training.checkpoint import discard_after, latest_checkpoint, save_checkpoint
from medsimclr.training.networks import Network
from medsimclr.training.run_log import Progress, RunLog
from medsimclr.training.stop import stop_on_signals

__all__ = ["Batch", "Loss", "Plan", "build_optimizer", "build_plan", "train"]

Batch = tuple[torch.Tensor, torch.Tensor]
"""Views uint8 (V, B, P, P, 3) and labels int64 (B,)."""
Loss = Callable[[Batch], tuple[torch.Tensor, Mapping[str, torch.Tensor]]]
"""A batch to its loss and the figures to log."""


@dataclass(frozen=True)
class Plan:
    """How long a training is and how it is watched."""

    total_steps: int
    warmup_steps: int
    peak_lr: float
    images_per_step: int
    checkpoint_minutes: float
    log_seconds: float


def build_plan(config: TrainingConfig, *, n_tiles: int, n_views: int) -> Plan:
    """Return the plan of SimCLR's schedule: N · epochs // B + 1 steps, warm-up rounded likewise."""
    return Plan(
        total_steps=total_steps(n_tiles, config.batch_size, config.epochs),
        warmup_steps=warmup_steps(n_tiles, config.batch_size, config.warmup_share * config.epochs),
        peak_lr=scaled_lr(config.base_lr, config.batch_size, scaling=config.lr_scaling),
        images_per_step=n_views * config.batch_size,
        checkpoint_minutes=config.checkpoint_minutes,
        log_seconds=config.log_seconds,
    )


def build_optimizer(
    module: nn.Module, *, name: str, lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return LARS or SGD over the parameters that are trained, with SimCLR's exclusions."""
    groups = lars_groups(module, weight_decay=weight_decay)
    groups = [group for group in groups if group["params"]]
    if name == "lars":
        return LARS(groups, lr=lr)
    for group in groups:
        group.pop("adapt", None)
    return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)


def train(
    run: Path,
    *,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: Loss,
    batches_from: Callable[[int], Iterator[Batch]],
    plan: Plan,
    network: Network,
    progress: Progress,
) -> None:
    """Train to the end of the plan, from the newest whole checkpoint if there is one.

    Args:
        run: the run directory, held by this process.
        module: what is trained and saved.
        optimizer: over its parameters.
        loss_of: the loss of a batch.
        batches_from: gives the batches from a step on; the same step gives the same batches.
        plan: steps, learning rate, intervals.
        network: description saved with the weights.
        progress: shows a line.

    Raises:
        NonFiniteLossError: before the update of the step that it names.
        CheckpointedError: a signal came; the step was finished and saved.
    """
    step = _resume(run, module, optimizer, progress)
    if step >= plan.total_steps:
        progress(step, plan.total_steps, "already done")
        return
    log = _open_log(run, step, plan, progress)

    def save() -> None:
        log.flush()
        save_checkpoint(
            run / "checkpoints",
            step=step,
            module=module,
            state={"optimizer": optimizer.state_dict()},
            network=network.model_dump(mode="json"),
        )

    saved = time.monotonic()
    try:
        with stop_on_signals() as stop:
            for batch in batches_from(step):
                _update(step, batch, optimizer=optimizer, loss_of=loss_of, plan=plan, log=log)
                step += 1
                if stop.signal is not None and step < plan.total_steps:
                    save()
                    raise _stopped(stop.signal, step, plan)
                if time.monotonic() - saved > 60 * plan.checkpoint_minutes:
                    save()
                    saved = time.monotonic()
        save()
    finally:
        log.close()


def _open_log(run: Path, start_step: int, plan: Plan, progress: Progress) -> RunLog:
    return RunLog(
        run,
        start_step=start_step,
        total_steps=plan.total_steps,
        images_per_step=plan.images_per_step,
        log_seconds=plan.log_seconds,
        progress=progress,
    )


def _stopped(number: signal.Signals, step: int, plan: Plan) -> BaseException:
    if number is signal.SIGINT:
        return KeyboardInterrupt()
    return CheckpointedError(
        f"stopped by {number.name} after step {step} of {plan.total_steps}, with a checkpoint; run "
        "the same command again to go on."
    )


def _update(
    step: int,
    batch: Batch,
    *,
    optimizer: torch.optim.Optimizer,
    loss_of: Loss,
    plan: Plan,
    log: RunLog,
) -> None:
    lr = warmup_cosine(
        step,
        peak_lr=plan.peak_lr,
        warmup_steps=plan.warmup_steps,
        total_steps=plan.total_steps,
    )
    for group in optimizer.param_groups:
        group["lr"] = lr
    loss, figures = loss_of(batch)
    value = loss.item()
    if not math.isfinite(value):
        raise NonFiniteLossError(
            f"the loss of step {step + 1} must be finite, got {value}; nothing was updated. Lower "
            "base_lr or give --set precision=fp32, with another --out."
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    log.step(step + 1, {"loss": value, **{k: v.item() for k, v in figures.items()}, "lr": lr})


def _resume(
    run: Path, module: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> int:
    checkpoint, damaged = latest_checkpoint(run)
    for sentence in damaged:
        progress(0, 0, sentence)
    if damaged:
        step = checkpoint.step if checkpoint else 0
        progress(0, 0, f"going on from step {step}, the last that is whole")
        discard_after(run, step)
    if checkpoint is None:
        return 0
    module.load_state_dict(checkpoint.weights())
    optimizer.load_state_dict(checkpoint.state()["optimizer"])
    return checkpoint.step
