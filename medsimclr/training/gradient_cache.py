"""Gradient caching: the gradient of a batch that does not fit, one micro-batch at a time.

Source: arXiv 2101.06983 (GradCache). NT-Xent compares every tile with every other, so that summing
the gradients of small batches is the gradient of another loss, with few negatives. But given the
gradient by the projections, which are small, the rest of the chain needs only its own tiles:

1. forward each micro-batch without gradient, keeping only the projections;
2. the loss of all projections and its gradient by them;
3. forward each micro-batch again, and backward from its rows of that gradient.

It costs one more forward pass, about a third more time. The network must not draw random numbers
(ours does not): both passes must see the same.

Batch norm is the one layer that looks at other tiles; `NormStatistics` says at which. Exact
statistics of the whole batch are not offered. Each layer's depend on those of the layers before,
so they would take a forward pass for each batch norm of the network (20 of ResNet-18, 155 of
ResNet-152), and as many again for the gradient through them; statistics collected in pass 1 are
those of another network, whose gradient through them would be missing. More processes are the
honest way to a wider batch norm: it spans the micro-batches of all of them.

n tiles of this process, V = 2 views, P projection, B = V times the tiles of a micro-batch.
"""

from contextlib import nullcontext
from typing import Literal, NamedTuple

import torch
from torch import nn

from medsimclr.distributed.group import SINGLE, Group
from medsimclr.losses.nt_xent import NTXent, nt_xent
from medsimclr.models.batch_norm import frozen_statistics, unmoved_statistics
from medsimclr.training.compute import Compute, to_images

__all__ = ["CachedStep", "NormStatistics", "accumulate_cached"]

NormStatistics = Literal["micro", "frozen"]
"""What batch norm normalises by.

"micro": the mean and variance of the micro-batch, both views of its tiles, on all processes. Loss
and gradient are exactly those of a network whose batch norm sees only these; a micro-batch of 64
has the batch norm of a batch of 64, and the negatives of the whole batch. The moving statistics
move once for each micro-batch. "frozen": the moving statistics, which stay as they are. Loss and
gradient are exactly those of the whole batch in one piece; for a network that was trained before,
since the moving statistics of a new one fit nothing.
"""


class CachedStep(NamedTuple):
    """What a step leaves beside its gradients; all detached."""

    figures: NTXent
    """This process's shares."""
    z_a_nP: torch.Tensor
    z_b_nP: torch.Tensor


def accumulate_cached(
    model: nn.Module,
    views_VnHWC: torch.Tensor,
    *,
    micro_batch: int,
    temperature: float,
    compute: Compute,
    group: Group = SINGLE,
    statistics: NormStatistics = "micro",
) -> CachedStep:
    """Add to `.grad` the gradient of NT-Xent over the batch, holding one micro-batch's activations.

    Args:
        model: maps images to projections; in training mode.
        views_VnHWC: (2, n, H, W, 3) uint8 views; they become floats a micro-batch at a time.
        micro_batch: tiles at a time, of this process and with both views; the last may be smaller.
        temperature: T of NT-Xent.
        compute: device and precision of the forward passes.
        group: the processes that share the batch, each with as many tiles.
        statistics: what batch norm normalises by.
    """
    assert micro_batch > 0, micro_batch
    micro_batches = views_VnHWC.split(micro_batch, dim=1)

    def project(views_VBHWC: torch.Tensor) -> torch.Tensor:
        images_BCHW = to_images(views_VBHWC.flatten(0, 1), compute.device)
        with compute.autocast():
            z_BP: torch.Tensor = model(images_BCHW)
        return torch.stack(z_BP.chunk(2))

    with frozen_statistics(model) if statistics == "frozen" else nullcontext():
        with torch.no_grad(), unmoved_statistics(model):
            z_VnP = torch.cat([project(views) for views in micro_batches], dim=1)
        z_VnP.requires_grad_()
        figures = nt_xent(*z_VnP, temperature=temperature, group=group)
        (gradient_VnP,) = torch.autograd.grad(figures.loss, z_VnP)
        for views, gradient in zip(
            micro_batches, gradient_VnP.split(micro_batch, dim=1), strict=True
        ):
            project(views).backward(gradient)
    return CachedStep(figures._replace(loss=figures.loss.detach()), *z_VnP.detach())
