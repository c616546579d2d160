"""Summing the gradients of all processes.

In place of DistributedDataParallel, which averages: losses here are shares of the whole batch's, so
their gradients add up to its gradient.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import nn

from medsimclr.distributed.group import Group

__all__ = ["sum_gradients"]

_BUCKET_BYTES = 25 * 2**20


def sum_gradients(
    parameters: Iterable[nn.Parameter], group: Group, *, bucket_bytes: int = _BUCKET_BYTES
) -> None:
    """Replace the gradient of each parameter by its sum over all processes.

    A parameter without gradient in every process keeps none, as if one process had seen the whole
    batch; where only some have one, the others count as zero and get the sum too.

    Args:
        parameters: the same in every process, in the same order.
        group: the processes.
        bucket_bytes: gradients travel joined in buckets of about this size (PyTorch's 25 MB); a
            larger one travels alone. Extra memory is that of one bucket.
    """
    if group.size == 1:
        return
    for gradients in _buckets(_gradients(list(parameters), group), bucket_bytes):
        # reshape, not a view of the storage: the layout in memory may differ between processes.
        joined = torch.cat([gradient.reshape(-1) for gradient in gradients])
        group.sum_(joined)
        parts = joined.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def _gradients(parameters: list[nn.Parameter], group: Group) -> list[torch.Tensor]:
    """Return the gradients that any process has, zeros where this one has none."""
    has_gradient = [parameter.grad is not None for parameter in parameters]
    counts = group.sum(torch.tensor(has_gradient, dtype=torch.int32, device=group.device))
    gradients = []
    for parameter, count in zip(parameters, counts.tolist(), strict=True):
        if count and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if parameter.grad is not None:
            gradients.append(parameter.grad)
    return gradients


def _buckets(gradients: list[torch.Tensor], bucket_bytes: int) -> Iterator[list[torch.Tensor]]:
    """Divide into runs of one dtype that are at most bucket_bytes large."""
    bucket: list[torch.Tensor] = []
    n_bytes = 0
    for gradient in gradients:
        is_full = n_bytes + gradient.nbytes > bucket_bytes
        if bucket and (is_full or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket, n_bytes = [], 0
        bucket.append(gradient)
        n_bytes += gradient.nbytes
    if bucket:
        yield bucket
