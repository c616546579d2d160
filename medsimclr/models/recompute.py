"""Activation checkpointing: forget a module's activations and compute them again in backward.

The forward pass is computed twice, which costs about a third of a training step, and memory holds
the inputs of the modules and the activations of one of them (arXiv 1604.06174).
"""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from medsimclr.models.batch_norm import unmoved_statistics

__all__ = ["recomputed"]


def recomputed(module: nn.Module, value: torch.Tensor) -> torch.Tensor:
    """Return module(value), whose activations backward computes again.

    Result, gradients and running statistics are those of a plain call, bit for bit where the device
    computes the same twice. The module must draw no random numbers. Where batch norm is global,
    every process must run backward, in which they meet again.
    """
    is_again = False

    def run(value: torch.Tensor) -> torch.Tensor:
        nonlocal is_again
        if is_again:
            # The same batch must not move the running statistics a second time.
            with unmoved_statistics(module):
                output: torch.Tensor = module(value)
        else:
            is_again = True
            output = module(value)
        return output

    output: torch.Tensor = checkpoint(run, value, use_reentrant=False, preserve_rng_state=False)
    return output
