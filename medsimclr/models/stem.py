"""What stands before the residual blocks: three stems, two of which end in a max-pool.

Source: arXiv 2006.10029; `google-research/simclr` tf2/resnet.py; ResNet-D is arXiv 1812.01187. A
side of n pixels leaves a stem with a max-pool as ceil(ceil(n / 2) / 2), the small stem as n.

B batch, C channels, H W height and width in pixels.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from medsimclr.models.batch_norm import BatchNorm
from medsimclr.models.initial_weights import conv

__all__ = ["SameMaxPool", "resnet_d_stem", "small_stem", "standard_stem"]


class SameMaxPool(nn.Module):
    """Max-pool 3x3/2 with TensorFlow's SAME padding.

    SAME pads an even size by one at the bottom and right only, an odd size by one on both sides.
    ceil_mode gives the former: the last window reaches over the edge.
    """

    def forward(self, map_BCHW: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to (B, C, ceil(H / 2), ceil(W / 2))."""
        height, width = map_BCHW.shape[-2:]
        padding = (height % 2, width % 2)
        return F.max_pool2d(map_BCHW, 3, stride=2, padding=padding, ceil_mode=True)


def standard_stem(channels: int, *, generator: torch.Generator) -> nn.Sequential:
    """Build 7x7/2, batch norm, ReLU and max-pool, from 3 to `channels`."""
    layers = OrderedDict[str, nn.Module](
        conv=conv(3, channels, kernel_px=7, stride=2, generator=generator),
        bn=BatchNorm(channels),
        relu=nn.ReLU(),
        pool=SameMaxPool(),
    )
    return nn.Sequential(layers)


def resnet_d_stem(channels: int, *, generator: torch.Generator) -> nn.Sequential:
    """Build three 3x3, the first of stride 2, each with batch norm and ReLU, and max-pool.

    The first two have half as many channels. It goes with selective kernels.
    """
    half = channels // 2
    layers = OrderedDict[str, nn.Module](
        conv1=conv(3, half, kernel_px=3, stride=2, generator=generator),
        bn1=BatchNorm(half),
        relu1=nn.ReLU(),
        conv2=conv(half, half, kernel_px=3, stride=1, generator=generator),
        bn2=BatchNorm(half),
        relu2=nn.ReLU(),
        conv3=conv(half, channels, kernel_px=3, stride=1, generator=generator),
        bn3=BatchNorm(channels),
        relu3=nn.ReLU(),
        pool=SameMaxPool(),
    )
    return nn.Sequential(layers)


def small_stem(channels: int, *, generator: torch.Generator) -> nn.Sequential:
    """Build 3x3/1, batch norm and ReLU, with or without selective kernels: sizes stay."""
    layers = OrderedDict[str, nn.Module](
        conv=conv(3, channels, kernel_px=3, stride=1, generator=generator),
        bn=BatchNorm(channels),
        relu=nn.ReLU(),
    )
    return nn.Sequential(layers)
