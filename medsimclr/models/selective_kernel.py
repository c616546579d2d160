"""The selective kernel of SimCLRv2: two 3x3 convolutions, mixed channel by channel.

Source: arXiv 1903.06586 and `google-research/simclr` tf2/resnet.py, which differs from the paper:
both streams are plain 3x3, one convolution computes them, and they are normalised together.

B batch, F channels of a stream, H W height and width in pixels, M channels of the mixing layers.
"""

from collections import OrderedDict

import torch
from torch import nn

from medsimclr.models.batch_norm import BatchNorm
from medsimclr.models.initial_weights import conv

__all__ = ["SelectiveKernel"]

_SK_RATIO = 0.0625
_MIN_MID_CHANNELS = 32


class SelectiveKernel(nn.Module):
    """Takes the place of 3x3, batch norm and ReLU in a bottleneck.

    g = spatial mean of the sum of the streams; (p, q) = softmax over the two of mixing(g);
    output = p · first stream + q · second stream.

    Args:
        channels: F; M is F/16, at least 32.
        stride: Of the 3x3 convolution.
        generator: Source of the starting weights.
    """

    def __init__(self, channels: int, *, stride: int, generator: torch.Generator) -> None:
        super().__init__()
        mid = max(int(channels * _SK_RATIO), _MIN_MID_CHANNELS)
        self.streams = nn.Sequential(
            OrderedDict[str, nn.Module](
                conv=conv(channels, 2 * channels, kernel_px=3, stride=stride, generator=generator),
                bn=BatchNorm(2 * channels),
                relu=nn.ReLU(),
            )
        )
        self.mixing = nn.Sequential(
            OrderedDict[str, nn.Module](
                conv1=conv(channels, mid, kernel_px=1, stride=1, generator=generator),
                bn=BatchNorm(mid),
                relu=nn.ReLU(),
                conv2=conv(mid, 2 * channels, kernel_px=1, stride=1, generator=generator),
            )
        )

    def forward(self, map_BFHW: torch.Tensor) -> torch.Tensor:
        """Map (B, F, H, W) to (B, F, H, W), smaller by the stride."""
        first_BFHW, second_BFHW = self.streams(map_BFHW).chunk(2, dim=1)
        # The mean of the sum is the sum of the means, without a third map in memory.
        mean_BF11 = first_BFHW.mean((2, 3), keepdim=True) + second_BFHW.mean((2, 3), keepdim=True)
        mixing_B2F11 = self.mixing(mean_BF11).unflatten(1, (2, -1)).softmax(dim=1)
        # Autocast leaves softmax in float32, which would widen the map that follows.
        first_BF11, second_BF11 = mixing_B2F11.to(first_BFHW.dtype).unbind(dim=1)
        mixed_BFHW: torch.Tensor = first_BFHW * first_BF11 + second_BFHW * second_BF11
        return mixed_BFHW
