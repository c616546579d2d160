"""One training step of this process and of all that train with it."""

import math
from collections.abc import Callable, Mapping

import torch
from torch.nn.utils import get_total_norm

from medsimclr.distributed.gradients import sum_gradients
from medsimclr.distributed.group import Group
from medsimclr.errors import NonFiniteLossError
from medsimclr.training.plan import Plan

__all__ = ["Accumulate", "Batch", "take_step"]

Batch = tuple[torch.Tensor, torch.Tensor]
"""Views uint8 (V, B, P, P, 3) and labels int64 (B,)."""
Accumulate = Callable[[Batch], Mapping[str, torch.Tensor]]
"""Add the gradient of a batch to `.grad`; return "loss" and what else is logged, this process's
shares as detached scalars."""


def take_step(
    step: int,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    accumulate: Accumulate,
    *,
    plan: Plan,
    group: Group,
) -> dict[str, float]:
    """Do one step of the plan, counted from 0; return its figures, of all processes together.

    Raises:
        NonFiniteLossError: loss or gradient is not finite; nothing was updated.
    """
    lr = plan.lr(step)
    for parameters in optimizer.param_groups:
        parameters["lr"] = lr
    optimizer.zero_grad(set_to_none=True)
    shares = accumulate(batch)
    # One transfer for all figures: each .item() would wait for the device anew.
    values = group.sum(torch.stack([share.float() for share in shares.values()])).tolist()
    figures = dict(zip(shares, values, strict=True))
    _require_finite("loss", figures["loss"], step, group)
    weights = [weight for parameters in optimizer.param_groups for weight in parameters["params"]]
    sum_gradients(weights, group)
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = get_total_norm(gradients).item()
    _require_finite("gradient's norm", norm, step, group)
    optimizer.step()
    return {**figures, "gradient_norm": norm, "lr": lr}


def _require_finite(what: str, value: float, step: int, group: Group) -> None:
    if math.isfinite(value):
        return
    error = NonFiniteLossError(
        f"the {what} of step {step + 1} must be finite, got {value}; nothing was updated. Lower "
        "base_lr or give --set precision=fp32, with another --out."
    )
    error.is_echo = not group.is_main
    raise error
