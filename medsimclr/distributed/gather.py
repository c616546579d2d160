"""Gathering rows of all processes so that gradient flows back to each.

Every process computes its share of the loss from all N rows, so each of them has a gradient for
every row, and the gradient of the whole loss in a row is the sum of theirs. A gather whose backward
returns only the own slice drops the rest: a known bug of several SimCLR ports.

n rows of this process, N rows of all, D columns.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from medsimclr.distributed.group import Group

__all__ = ["gather_with_gradient"]


def gather_with_gradient(rows_nD: torch.Tensor, group: Group) -> torch.Tensor:
    """Return the (N, D) rows of all processes, as many from each, in order of rank.

    The gradient of the own rows is the sum over all processes of their gradients in those rows.
    """
    if group.size == 1:
        return rows_nD
    rows_ND: torch.Tensor = _Gather.apply(rows_nD, group)  # type: ignore[no-untyped-call]
    return rows_ND


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_nD: torch.Tensor, group: Group) -> torch.Tensor:
        ctx.group = group
        return group.gather(rows_nD)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_ND: torch.Tensor) -> tuple[torch.Tensor, None]:
        group: Group = ctx.group
        # A reduce-scatter, which gloo does by the same all-reduce; N·D numbers are few.
        return group.sum(grad_ND).chunk(group.size)[group.rank], None
