"""Residual blocks: a branch of convolutions added to a shortcut.

Source: arXiv 2006.10029; `google-research/simclr` tf2/resnet.py; the pooled shortcut is that of
ResNet-D, arXiv 1812.01187.

B batch, C channels, H W height and width in pixels.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from medsimclr.models.batch_norm import BatchNorm
from medsimclr.models.initial_weights import conv
from medsimclr.models.selective_kernel import SelectiveKernel

__all__ = ["Block", "ShortcutPool"]

_BOTTLENECK_EXPANSION = 4


class Block(nn.Module):
    """A residual branch added to its shortcut, then ReLU.

    The shortcut is built before the branch, as in the reference, whose variable numbers follow the
    order of construction.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the branch; a bottleneck's output has four times as many.
        stride: Of the first 3x3 and of the shortcut.
        has_projection: Whether the shortcut has weights; else it is the input itself.
        is_bottleneck: 1x1, 3x3, 1x1 rather than 3x3, 3x3.
        selective_kernels: The projection pools, and a bottleneck's 3x3 is a selective kernel.
        generator: Source of the starting weights.

    Attributes:
        out_channels: Channels of the output.
        is_bottleneck: As given.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int,
        has_projection: bool,
        is_bottleneck: bool,
        selective_kernels: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.is_bottleneck = is_bottleneck
        self.out_channels = channels * (_BOTTLENECK_EXPANSION if is_bottleneck else 1)
        self.shortcut: nn.Module = nn.Identity()
        if has_projection:
            projection = _pooled_projection if selective_kernels else _projection
            self.shortcut = projection(
                in_channels, self.out_channels, stride=stride, generator=generator
            )
        if is_bottleneck:
            self.branch = _bottleneck_branch(
                in_channels,
                channels,
                stride=stride,
                selective_kernels=selective_kernels,
                generator=generator,
            )
        else:
            self.branch = _basic_branch(in_channels, channels, stride=stride, generator=generator)

    def forward(self, map_BCHW: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride))."""
        return F.relu(self.branch(map_BCHW) + self.shortcut(map_BCHW))


class ShortcutPool(nn.Module):
    """Average pool 2x2 of ResNet-D's shortcut, whose edges depend on the stride.

    Stride 2: the reference pads bottom and right by one zero, which an odd size takes into its
    mean. Stride 1: TensorFlow's SAME also pads bottom and right, but leaves that out of the mean.
    """

    def __init__(self, *, stride: int) -> None:
        super().__init__()
        assert stride in (1, 2), stride
        self.stride = stride

    def forward(self, map_BCHW: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride))."""
        if self.stride == 2:
            height, width = map_BCHW.shape[-2:]
            # Of an even size no window reaches the padding, and a copy would be kept for backward.
            if height % 2 or width % 2:
                map_BCHW = F.pad(map_BCHW, (0, width % 2, 0, height % 2))
            return F.avg_pool2d(map_BCHW, 2)
        # PyTorch pads both sides; the first row and column are those that SAME does not have.
        return F.avg_pool2d(map_BCHW, 2, stride=1, padding=1, count_include_pad=False)[..., 1:, 1:]


def _projection(
    in_channels: int, out_channels: int, *, stride: int, generator: torch.Generator
) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv=conv(in_channels, out_channels, kernel_px=1, stride=stride, generator=generator),
            bn=BatchNorm(out_channels),
        )
    )


def _pooled_projection(
    in_channels: int, out_channels: int, *, stride: int, generator: torch.Generator
) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            pool=ShortcutPool(stride=stride),
            conv=conv(in_channels, out_channels, kernel_px=1, stride=1, generator=generator),
            bn=BatchNorm(out_channels),
        )
    )


def _basic_branch(
    in_channels: int, channels: int, *, stride: int, generator: torch.Generator
) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=conv(in_channels, channels, kernel_px=3, stride=stride, generator=generator),
            bn1=BatchNorm(channels),
            relu1=nn.ReLU(),
            conv2=conv(channels, channels, kernel_px=3, stride=1, generator=generator),
            bn2=BatchNorm(channels, init_zero=True),
        )
    )


def _bottleneck_branch(
    in_channels: int,
    channels: int,
    *,
    stride: int,
    selective_kernels: bool,
    generator: torch.Generator,
) -> nn.Sequential:
    out_channels = channels * _BOTTLENECK_EXPANSION
    layers = OrderedDict[str, nn.Module](
        conv1=conv(in_channels, channels, kernel_px=1, stride=1, generator=generator),
        bn1=BatchNorm(channels),
        relu1=nn.ReLU(),
    )
    if selective_kernels:
        layers["selective"] = SelectiveKernel(channels, stride=stride, generator=generator)
    else:
        layers["conv2"] = conv(channels, channels, kernel_px=3, stride=stride, generator=generator)
        layers["bn2"] = BatchNorm(channels)
        layers["relu2"] = nn.ReLU()
    layers["conv3"] = conv(channels, out_channels, kernel_px=1, stride=1, generator=generator)
    layers["bn3"] = BatchNorm(out_channels, init_zero=True)
    return nn.Sequential(layers)
