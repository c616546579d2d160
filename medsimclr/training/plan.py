"""How long a training is, at which rates and by which optimiser."""

from dataclasses import dataclass

import torch
from torch import nn

from medsimclr.config.training import TrainingConfig
from medsimclr.optim.lars import LARS, lars_groups
from medsimclr.optim.schedule import scaled_lr, total_steps, warmup_cosine, warmup_steps

__all__ = ["Plan", "build_optimizer", "build_plan"]


@dataclass(frozen=True)
class Plan:
    """How long a training is and how it is watched."""

    total_steps: int
    warmup_steps: int
    peak_lr: float
    images_per_step: int
    checkpoint_minutes: float
    log_seconds: float

    def lr(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        return warmup_cosine(
            step,
            peak_lr=self.peak_lr,
            warmup_steps=self.warmup_steps,
            total_steps=self.total_steps,
        )


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
    is_on_gpu = all(parameter.is_cuda for parameter in module.parameters())
    return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True, fused=is_on_gpu or None)
