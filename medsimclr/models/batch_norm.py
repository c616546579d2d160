"""Batch normalisation with TensorFlow's moving variance.

Source: tf2/resnet.py of `google-research/simclr`: eps 1e-5, decay 0.9 (PyTorch's momentum 0.1). Its
moving variance averages the biased batch variance, PyTorch's the unbiased one, n/(n-1) times as
large: 14 % more for a layer that sees 8 values per channel.
"""

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["BatchNorm"]

_EPS = 1e-5
_MOMENTUM = 0.1


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation of (B, C) or (B, C, H, W) over all axes but C.

    Args:
        n_channels: C.
        init_zero: Start gamma at 0 instead of 1 (the last one of a residual branch).
        has_beta: False leaves the shift out; the scale stays.
    """

    def __init__(self, n_channels: int, *, init_zero: bool = False, has_beta: bool = True) -> None:
        super().__init__(n_channels, eps=_EPS, momentum=_MOMENTUM)
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
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        n_values = input.numel() // input.shape[1]
        # PyTorch adds momentum * n/(n-1) * biased variance; scaling before and back after leaves
        # the biased one. On a copy: autograd keeps what it was given and would see it change.
        bessel = n_values / max(n_values - 1, 1)
        scaled_var = self.running_var * bessel
        output = F.batch_norm(
            input,
            self.running_mean,
            scaled_var,
            self.weight,
            self.bias,
            training=True,
            momentum=_MOMENTUM,
            eps=_EPS,
        )
        with torch.no_grad():
            self.running_var.copy_(scaled_var / bessel)
            self.num_batches_tracked.add_(1)
        return output
