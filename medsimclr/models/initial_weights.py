"""Convolutions and dense layers with SimCLRv2's starting weights.

Source: arXiv 2006.10029, `google-research/simclr` tf2/resnet.py and tf2/model.py. Convolutions are
truncated normal with variance 1/fan_in (LeCun; He would be 2/fan_in), dense layers N(0, 0.01²).

Every weight is drawn from the generator that is passed in, in the order of construction and on the
generator's device, so the same seed gives the same network on any device and PyTorch's global
generator is neither read nor advanced.
"""

import math

import torch
from torch import nn

__all__ = ["conv", "dense", "weight_generator", "zero_dense"]

# Cutting a unit normal at two deviations leaves this deviation. TensorFlow's VarianceScaling
# divides by it, so that 1/fan_in is the variance after the cut and not before.
_TRUNCATED_STD = 0.87962566103423978
_DENSE_STD = 0.01


def weight_generator(generator: torch.Generator | None) -> torch.Generator:
    """Return `generator`, or where it is None a new one with seed 0.

    None suits weights that will be loaded over. Two networks built with None start alike.
    """
    return torch.Generator("cpu").manual_seed(0) if generator is None else generator


def conv(
    in_channels: int, out_channels: int, *, kernel_px: int, stride: int, generator: torch.Generator
) -> nn.Conv2d:
    """Build a convolution without bias, padded as the reference pads.

    For odd kernels TensorFlow's SAME at stride 1 and the reference's fixed padding at stride 2 are
    both (kernel_px - 1) // 2 on every side. Plain SAME at stride 2 would not be.
    """
    assert kernel_px % 2 == 1, kernel_px
    layer = _UndrawnConv(
        in_channels,
        out_channels,
        kernel_px,
        stride=stride,
        padding=(kernel_px - 1) // 2,
        bias=False,
    )
    if not layer.weight.is_meta:
        std = math.sqrt(1 / (in_channels * kernel_px**2)) / _TRUNCATED_STD
        _copy(std * _truncated_normal(layer.weight.shape, generator), layer.weight)
    return layer


def dense(in_dim: int, out_dim: int, *, generator: torch.Generator) -> nn.Linear:
    """Build a dense layer without bias."""
    layer = _UndrawnDense(in_dim, out_dim, bias=False)
    if not layer.weight.is_meta:
        drawn = torch.empty(layer.weight.shape, device=generator.device)
        _copy(drawn.normal_(std=_DENSE_STD, generator=generator), layer.weight)
    return layer


def zero_dense(in_dim: int, out_dim: int) -> nn.Linear:
    """Build a dense layer with bias, all zeros."""
    layer = _UndrawnDense(in_dim, out_dim)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class _UndrawnConv(nn.Conv2d):
    """A convolution whose constructor leaves the weights, and the global generator, alone."""

    def reset_parameters(self) -> None:
        pass

    def forward(self, map_BCHW: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) with stride 1 along a side of one pixel, where every stride is the same.

        It is with the padding of `conv`: the kernel's centre is on the only pixel. With stride 2
        there, PyTorch 2.13 gives taps of the gradient in bf16 that were never written
        (channels last, on a CPU).
        """
        strides = [
            stride if side > 1 else 1
            for stride, side in zip(self.stride, map_BCHW.shape[-2:], strict=True)
        ]
        return nn.functional.conv2d(map_BCHW, self.weight, None, strides, self.padding)


class _UndrawnDense(nn.Linear):
    """A dense layer whose constructor leaves the weights, and the global generator, alone."""

    def reset_parameters(self) -> None:
        pass


def _truncated_normal(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Draw from the unit normal between -2 and 2 by inverting its distribution.

    nn.init.trunc_normal_ rejects and redraws whole tensors, which takes ten times as long and draws
    other numbers in other versions of PyTorch.
    """
    edge = math.erf(math.sqrt(2))
    drawn = torch.empty(shape, device=generator.device).uniform_(-edge, edge, generator=generator)
    return drawn.erfinv_().mul_(math.sqrt(2))


def _copy(drawn: torch.Tensor, weight: torch.Tensor) -> None:
    with torch.no_grad():
        weight.copy_(drawn)
