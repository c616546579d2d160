"""Activation checkpointing: forget a module's activations and compute them again in backward.

The forward pass is computed twice, which costs about a third of a training step, and memory holds
the inputs of the modules and the activations of one of them (arXiv 1604.06174).
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from medsimclr.models.batch_norm import BatchNorm

__all__ = ["HeldStatistics", "recomputed"]


class HeldStatistics(AbstractContextManager[None]):
    """Inside, batch norm in training mode leaves the running statistics of `module` as they were.

    It moves copies instead, which are thrown away. Needed wherever one batch passes a network
    twice. May be entered again after it was left, not within itself.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._held: list[tuple[nn.Module, str, torch.Tensor]] = []

    def __enter__(self) -> None:
        assert not self._held
        for norm in self._module.modules():
            if isinstance(norm, BatchNorm):
                for name, buffer in list(norm.named_buffers(recurse=False)):
                    self._held.append((norm, name, buffer))
                    setattr(norm, name, buffer.clone())

    def __exit__(self, *error: object) -> None:
        for norm, name, buffer in self._held:
            setattr(norm, name, buffer)
        self._held.clear()


def recomputed(module: nn.Module, value: torch.Tensor) -> torch.Tensor:
    """Return module(value), whose activations backward computes again.

    The result, gradients and running statistics are those of a plain call, bit for bit where the
    device computes the same twice. The module must draw no random numbers.
    """
    output: torch.Tensor = checkpoint(
        module,
        value,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), HeldStatistics(module)),
    )
    return output
