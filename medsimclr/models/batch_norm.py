"""Batch normalisation with TensorFlow's moving variance.

Source: tf2/resnet.py of `google-research/simclr`: eps 1e-5, decay 0.9 (PyTorch's momentum 0.1). Its
moving variance averages the biased batch variance, PyTorch's the unbiased one, n/(n-1) times as
large: 14 % more for a layer that sees 8 values per channel.

Two switches for those who pass a batch more than once, in parts or beside the training:
`unmoved_statistics` normalises by the batch and leaves the moving statistics alone (the first pass
of gradient caching, the recomputation of a checkpointed block), `frozen_statistics` normalises by
the moving statistics, as in inference.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional as F

from medsimclr.distributed.batch_norm import joined_batch_norm
from medsimclr.distributed.group import SINGLE, Group

__all__ = ["BatchNorm", "frozen_statistics", "synchronise_batch_norm", "unmoved_statistics"]

_EPS = 1e-5
_MOMENTUM = 0.1


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation of (B, C) or (B, C, H, W) over all axes but C.

    Args:
        n_channels: C.
        init_zero: Start gamma at 0 instead of 1 (the last one of a residual branch).
        has_beta: False leaves the shift out; the scale stays.

    Attributes:
        group: The processes whose joined batch it normalises by; this one alone at first.
        moves_statistics: Whether a batch in training mode moves the running statistics. It changes
            neither the output nor what autograd saves, so a recomputed pass equals the first.
    """

    def __init__(self, n_channels: int, *, init_zero: bool = False, has_beta: bool = True) -> None:
        super().__init__(n_channels, eps=_EPS, momentum=_MOMENTUM)
        self.group = SINGLE
        self.moves_statistics = True
        if init_zero:
            nn.init.zeros_(self.weight)
        if not has_beta:
            self.register_parameter("bias", None)

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() not in (2, 4):
            raise ValueError(f"expected (B, C) or (B, C, H, W), got shape {tuple(input.shape)}")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise; in training mode by the batch, which also moves the running statistics."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        if self.group.size == 1:
            return self._by_own_batch(input)
        return self._by_joined_batch(input)

    def _by_own_batch(self, input: torch.Tensor) -> torch.Tensor:
        assert self.running_mean is not None
        assert self.running_var is not None
        n_values = input.numel() // input.shape[1]
        # PyTorch adds momentum * n/(n-1) * biased variance; scaling before and back after leaves
        # the biased one. On a copy: autograd keeps what it was given and would see it change.
        bessel = n_values / max(n_values - 1, 1)
        scaled_var = self.running_var * bessel
        output = F.batch_norm(
            input,
            self.running_mean if self.moves_statistics else self.running_mean.clone(),
            scaled_var,
            self.weight,
            self.bias,
            training=True,
            momentum=_MOMENTUM,
            eps=_EPS,
        )
        if self.moves_statistics:
            assert self.num_batches_tracked is not None
            with torch.no_grad():
                torch.div(scaled_var, bessel, out=self.running_var)
                self.num_batches_tracked.add_(1)
        return output

    def _by_joined_batch(self, input: torch.Tensor) -> torch.Tensor:
        output, mean_C, variance_C = joined_batch_norm(
            input, self.weight, self.bias, eps=_EPS, group=self.group
        )
        if self.moves_statistics:
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            with torch.no_grad():
                self.running_mean.lerp_(mean_C, _MOMENTUM)
                self.running_var.lerp_(variance_C, _MOMENTUM)
                self.num_batches_tracked.add_(1)
        return output


def synchronise_batch_norm(module: nn.Module, group: Group) -> None:
    """Let every BatchNorm of a network see the joined batch of a group of processes."""
    for norm in _batch_norms(module):
        norm.group = group


@contextmanager
def unmoved_statistics(module: nn.Module) -> Iterator[None]:
    """Normalise by the batch in every BatchNorm of a network, moving no running statistics."""
    norms = [norm for norm in _batch_norms(module) if norm.moves_statistics]
    for norm in norms:
        norm.moves_statistics = False
    try:
        yield
    finally:
        for norm in norms:
            norm.moves_statistics = True


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Normalise by the running statistics in every BatchNorm of a network, in training mode too."""
    norms = [norm for norm in _batch_norms(module) if norm.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


def _batch_norms(module: nn.Module) -> Iterator[BatchNorm]:
    return (part for part in module.modules() if isinstance(part, BatchNorm))
