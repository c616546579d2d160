"""Batch normalisation over the joined batch of all processes.

Source: tf2/resnet.py of `google-research/simclr` normalises over the global batch. The moments are
joined by Chan, Golub and LeVeque's formula (1979) from mean, squared deviations and count of each
process: a sum of squares would cancel where the mean is large. One collective forward, one
backward.

B samples of this process, C channels, R processes; N values a channel of all processes.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from medsimclr.distributed.group import Group

__all__ = ["joined_batch_norm"]


def joined_batch_norm(
    value: torch.Tensor,
    weight_C: torch.Tensor,
    bias_C: torch.Tensor | None,
    *,
    eps: float,
    group: Group,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalise (B, C) or (B, C, H, W) by mean and biased variance of the joined batch.

    The gradient of weight and bias is this process's share: summed over the processes it is that of
    the joined batch.

    Returns:
        The output, of the dtype and layout of the input; mean and biased variance, both (C,),
        without gradient, in the weight's dtype and the same bits in every process.
    """
    mean_C, variance_C, n_values = _joined_moments(value.detach(), weight_C.dtype, group=group)
    output: torch.Tensor = _Normalise.apply(  # type: ignore[no-untyped-call]
        value, weight_C, bias_C, mean_C, variance_C, n_values, eps, group
    )
    return output, mean_C, variance_C


def _joined_moments(
    value: torch.Tensor, dtype: torch.dtype, *, group: Group
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return mean (C,), biased variance (C,) and the count N as float64 tensor."""
    n_channels = value.shape[1]
    # torch.var_mean takes 4 to 30 times as long. Momentum 0 leaves the running statistics that it
    # asks for; their dtype makes those of bfloat16 float32.
    unused_C = torch.zeros(n_channels, dtype=dtype, device=value.device)
    mean_C, variance_C = torch.batch_norm_update_stats(value, unused_C, unused_C.clone(), 0.0)
    count = torch.full_like(mean_C[:1], value.numel() // n_channels, dtype=torch.float64)
    moments = torch.cat([mean_C.double(), variance_C.double() * count, count])
    mean_RC, deviation_RC, count_R1 = group.gather(moments[None]).split(
        [n_channels, n_channels, 1], dim=1
    )
    n_values = count_R1.sum()
    joined_mean_C = (count_R1 * mean_RC).sum(dim=0) / n_values
    deviation_RC = deviation_RC + count_R1 * (mean_RC - joined_mean_C).square()
    joined_variance_C = deviation_RC.sum(dim=0) / n_values
    return joined_mean_C.to(dtype), joined_variance_C.to(dtype), n_values


class _Normalise(torch.autograd.Function):
    """Normalise by given moments, whose own gradient is part of the input's.

    With x̂ the normalised input and w the weight, the input's gradient is w/σ · (g - mean(g) - x̂ ·
    mean(g·x̂)), both means over the joined batch. PyTorch's kernels of inference, where moments are
    constants, give w/σ · g, Σg and Σg·x̂ of this process; after the sums were joined, the rest is
    again an inference normalisation, of other weight and bias.
    """

    @staticmethod
    def forward(
        ctx: Any,
        value: torch.Tensor,
        weight_C: torch.Tensor,
        bias_C: torch.Tensor | None,
        mean_C: torch.Tensor,
        variance_C: torch.Tensor,
        n_values: torch.Tensor,
        eps: float,
        group: Group,
    ) -> torch.Tensor:
        ctx.save_for_backward(value, weight_C, mean_C, variance_C, n_values)
        ctx.eps, ctx.group, ctx.has_bias = eps, group, bias_C is not None
        return F.batch_norm(value, mean_C, variance_C, weight_C, bias_C, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        value, weight_C, mean_C, variance_C, n_values = ctx.saved_tensors
        eps, group = ctx.eps, ctx.group
        grad_value, grad_weight_C, grad_bias_C = torch.ops.aten.native_batch_norm_backward(
            grad, value, weight_C, mean_C, variance_C, None, None, False, eps, [True] * 3
        )
        sums_2C = group.sum(torch.stack([grad_weight_C, grad_bias_C]))
        scale_C = weight_C * (variance_C + eps).rsqrt()
        mean_2C = (sums_2C / n_values).to(scale_C.dtype) * scale_C
        grad_value -= F.batch_norm(value, mean_C, variance_C, mean_2C[0], mean_2C[1], eps=eps)
        shares = (grad_value, grad_weight_C, grad_bias_C if ctx.has_bias else None)
        return *shares, None, None, None, None, None
