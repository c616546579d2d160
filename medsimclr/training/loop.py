"""The one training loop: pretrain, finetune and distill give it gradients and batches.

Every process of a group holds its share of each batch, of the loss and of the gradient; what is
logged, saved and shown is the main process's work, and of the sums.
"""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

import torch
from torch import nn

from medsimclr.distributed.agreement import on_main
from medsimclr.distributed.group import Group
from medsimclr.errors import CheckpointedError, IntegrityError
from medsimclr.training.checkpoint import (
    checkpoint_at,
    discard_after,
    latest_checkpoint,
    restore,
    save_checkpoint,
)
from medsimclr.training.networks import Network
from medsimclr.training.plan import Plan
from medsimclr.training.run_log import Progress, RunLog
from medsimclr.training.step import Accumulate, Batch, take_step
from medsimclr.training.stop import SIGNALS, StopFlag, stop_on_signals

__all__ = ["Observe", "newest_step", "train"]

Observe = Callable[[int, Mapping[str, float]], tuple[Mapping[str, float], list[str]]]
"""From the steps done and the figures of the last one: further figures, sentences for the user.
A new run is looked at before its first step too, at step 0 and without figures."""


def train(
    run: Path,
    *,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    accumulate: Accumulate,
    batches_from: Callable[[int], Iterator[Batch]],
    plan: Plan,
    network: Network,
    group: Group,
    observe: Observe,
    progress: Progress,
) -> int:
    """Train to the end of the plan from the newest whole checkpoint; return its step, 0 if none.

    Args:
        run: the run directory, held by the main process.
        module: what is trained and saved.
        optimizer: over its parameters.
        accumulate: the gradient of a batch.
        batches_from: gives this process's rows of the batches from a step on; the same step gives
            the same batches.
        plan: steps, learning rate, intervals.
        network: description saved with the weights.
        group: the processes that train together.
        observe: looks at the network after a step, in the main process.
        progress: shows a line.

    Raises:
        NonFiniteLossError: before the update of the step that it names.
        CheckpointedError: a signal came; the step was finished and saved.
    """
    step = first_step = _resume(run, module, optimizer, plan, group, progress)
    if step == plan.total_steps:
        progress(step, plan.total_steps, "already done")
        return first_step
    saved = time.monotonic()
    with _log(run, step, plan, progress, group) as log, stop_on_signals() as stop:
        if log is not None and step == 0:
            log.start(*observe(0, {}))
        for batch in batches_from(step):
            figures = take_step(step, batch, optimizer, accumulate, plan=plan, group=group)
            step += 1
            if log is not None:
                further, sentences = observe(step, figures)
                log.step(step, {**figures, **further}, sentences)
            signal_seen = _agreed(stop, group) if step < plan.total_steps else None
            is_due = time.monotonic() - saved > 60 * plan.checkpoint_minutes
            if log is not None and (is_due or signal_seen or step == plan.total_steps):
                log.flush()
                saved = _save(run, step, module, optimizer, network)
            if signal_seen:
                break
        # torchrun ends all processes when one has ended with an error, 75 too: none may before the
        # checkpoint is whole.
        group.wait()
    if signal_seen:
        raise _stopped(signal_seen, step, plan, group)
    return first_step


def _log(
    run: Path, start_step: int, plan: Plan, progress: Progress, group: Group
) -> AbstractContextManager[RunLog | None]:
    if not group.is_main:
        return nullcontext()
    return closing(
        RunLog(
            run,
            start_step=start_step,
            total_steps=plan.total_steps,
            images_per_step=plan.images_per_step,
            log_seconds=plan.log_seconds,
            progress=progress,
        )
    )


def _save(
    run: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, network: Network
) -> float:
    """Write a checkpoint; return when that was done, seconds of the monotonic clock."""
    save_checkpoint(
        run / "checkpoints",
        step=step,
        module=module,
        optimizer=optimizer,
        network=network.model_dump(mode="json"),
    )
    return time.monotonic()


def _agreed(stop: StopFlag, group: Group) -> signal.Signals | None:
    """Return the signal that this process or another has seen, the same in all of them."""
    if group.size == 1:
        return stop.signal
    seen = torch.tensor([stop.signal == number for number in SIGNALS], dtype=torch.float32)
    counts = group.sum(seen.to(group.device)).tolist()
    return next((number for number, n in zip(SIGNALS, counts, strict=True) if n), None)


def _stopped(number: signal.Signals, step: int, plan: Plan, group: Group) -> BaseException:
    if number is signal.SIGINT:
        return KeyboardInterrupt()
    error = CheckpointedError(
        f"stopped by {number.name} after step {step} of {plan.total_steps}, with a checkpoint; run "
        "the same command again to go on."
    )
    error.is_echo = not group.is_main
    return error


def _resume(
    run: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    plan: Plan,
    group: Group,
    progress: Progress,
) -> int:
    """Load the newest checkpoint that is whole into every process; return its step, or 0."""
    step = on_main(group, lambda: _step_without_damage(run, progress))
    if step > plan.total_steps:
        raise IntegrityError(
            f"the checkpoint of step {step} in {str(run)!r} cannot belong to a run of "
            f"{plan.total_steps} steps; delete it to go on from the one before."
        )
    if step > 0:
        if group.is_main and step < plan.total_steps:
            progress(0, 0, f"going on after step {step} of {plan.total_steps}")
        restore(checkpoint_at(run, step), module, optimizer)
    return step


def _step_without_damage(run: Path, progress: Progress) -> int:
    step = newest_step(run, progress=progress)
    discard_after(run, step)
    return step


def newest_step(run: Path, *, progress: Progress) -> int:
    """Return the step of a run's newest whole checkpoint, 0 if it has none; nothing is changed.

    Args:
        run: the run directory.
        progress: is told of newer ones that are damaged.

    Raises:
        IntegrityError: there are some, and all are damaged.
    """
    checkpoint, damaged = latest_checkpoint(run)
    for sentence in damaged:
        progress(0, 0, sentence)
    if damaged and checkpoint is None:
        raise IntegrityError(
            f"run {str(run)!r} must have a whole checkpoint to go on from, got {len(damaged)} that "
            "are damaged; restore one from a copy, or delete its folder checkpoints to begin anew."
        )
    if checkpoint is None:
        return 0
    if damaged:
        progress(0, 0, f"going on from step {checkpoint.step}, the last that is whole")
    return checkpoint.step
