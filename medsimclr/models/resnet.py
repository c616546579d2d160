"""The residual network of SimCLRv2, without selective kernels.

Source: arXiv 2006.10029; `google-research/simclr` tf2/resnet.py. It differs from the usual PyTorch
ResNet in the first block of group 1, which has a projection shortcut too; in the max-pool, padded
as TensorFlow's SAME; in the moving variance (see batch_norm); and in the starting weights.

Images are float in [0, 1], without mean/std normalisation.

B batch, C channels, H W height and width in pixels, D features: 512·width (basic blocks) or
2048·width (bottlenecks).
"""

from collections import OrderedDict
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn import functional as F

from medsimclr.errors import ConfigError
from medsimclr.models.batch_norm import BatchNorm
from medsimclr.models.initial_weights import conv, weight_generator

__all__ = ["Depth", "ResNet", "Stem", "stem_for"]

Depth = Literal[18, 34, 50, 101, 152, 200]
Stem = Literal["standard", "small"]

_BASE_CHANNELS = 64
_BOTTLENECK_EXPANSION = 4
_N_BLOCKS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}


def stem_for(view_px: int) -> Stem:
    """Return the stem for square views of `view_px`: "small" up to 32 px, as in the reference."""
    return "small" if view_px <= 32 else "standard"


class ResNet(nn.Module):
    """Residual network from images to features.

    Args:
        depth: Number of layers; 18 and 34 have basic blocks, the others bottlenecks.
        width: Factor on the channels of every layer, the stem included.
        stem: "standard" is 7x7/2 and max-pool 3x3/2, "small" 3x3/1 without pool; see `stem_for`.
        generator: Source of the starting weights; None means a new one with seed 0.

    Attributes:
        feature_dim: D, the number of features.

    Raises:
        ConfigError: An argument is outside its choices.
    """

    def __init__(
        self,
        *,
        depth: Depth,
        width: int = 1,
        stem: Stem = "standard",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check(depth, width, stem)
        generator = weight_generator(generator)
        is_bottleneck = depth >= 50
        in_channels = _BASE_CHANNELS * width
        self.stem = _stem(in_channels, stem=stem, generator=generator)
        self.groups = nn.Sequential()
        for i_group, n_blocks in enumerate(_N_BLOCKS[depth]):
            channels = _BASE_CHANNELS * width * 2**i_group
            group = nn.Sequential()
            for i_block in range(n_blocks):
                block = _Block(
                    in_channels,
                    channels,
                    stride=2 if i_block == 0 and i_group > 0 else 1,
                    has_projection=i_block == 0,
                    is_bottleneck=is_bottleneck,
                    generator=generator,
                )
                in_channels = block.out_channels
                group.append(block)
            self.groups.append(group)
        self.feature_dim: int = in_channels

    def forward(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) images in [0, 1] to (B, D) features, the mean over the last map."""
        map_BCHW: torch.Tensor = self.groups(self.stem(image_BCHW))
        return map_BCHW.mean(dim=(2, 3))


class _Block(nn.Module):
    """A residual branch added to its shortcut, then ReLU.

    The shortcut is built before the branch, as in the reference, whose variable numbers follow the
    order of construction.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int,
        has_projection: bool,
        is_bottleneck: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.out_channels = channels * (_BOTTLENECK_EXPANSION if is_bottleneck else 1)
        self.shortcut: nn.Module = nn.Identity()
        if has_projection:
            self.shortcut = _projection(
                in_channels, self.out_channels, stride=stride, generator=generator
            )
        branch = _bottleneck_branch if is_bottleneck else _basic_branch
        self.branch = branch(in_channels, channels, stride=stride, generator=generator)

    def forward(self, map_BCHW: torch.Tensor) -> torch.Tensor:
        return F.relu(self.branch(map_BCHW) + self.shortcut(map_BCHW))


class _SameMaxPool(nn.Module):
    """Max-pool 3x3/2 with TensorFlow's SAME padding.

    SAME pads an even size by one at the bottom and right only, an odd size by one on both sides.
    ceil_mode gives the former: the last window reaches over the edge.
    """

    def forward(self, map_BCHW: torch.Tensor) -> torch.Tensor:
        height, width = map_BCHW.shape[-2:]
        padding = (height % 2, width % 2)
        return F.max_pool2d(map_BCHW, 3, stride=2, padding=padding, ceil_mode=True)


def _stem(channels: int, *, stem: Stem, generator: torch.Generator) -> nn.Sequential:
    kernel_px, stride = (7, 2) if stem == "standard" else (3, 1)
    layers = OrderedDict[str, nn.Module](
        conv=conv(3, channels, kernel_px=kernel_px, stride=stride, generator=generator),
        bn=BatchNorm(channels),
        relu=nn.ReLU(),
    )
    if stem == "standard":
        layers["pool"] = _SameMaxPool()
    return nn.Sequential(layers)


def _projection(
    in_channels: int, out_channels: int, *, stride: int, generator: torch.Generator
) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv=conv(in_channels, out_channels, kernel_px=1, stride=stride, generator=generator),
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
    in_channels: int, channels: int, *, stride: int, generator: torch.Generator
) -> nn.Sequential:
    # A selective kernel would stand for conv2, bn2 and relu2.
    out_channels = channels * _BOTTLENECK_EXPANSION
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=conv(in_channels, channels, kernel_px=1, stride=1, generator=generator),
            bn1=BatchNorm(channels),
            relu1=nn.ReLU(),
            conv2=conv(channels, channels, kernel_px=3, stride=stride, generator=generator),
            bn2=BatchNorm(channels),
            relu2=nn.ReLU(),
            conv3=conv(channels, out_channels, kernel_px=1, stride=1, generator=generator),
            bn3=BatchNorm(out_channels, init_zero=True),
        )
    )


def _check(depth: int, width: int, stem: str) -> None:
    if depth not in _N_BLOCKS:
        known = ", ".join(map(str, _N_BLOCKS))
        raise ConfigError(f"depth must be one of {known}, got {depth!r}.")
    if width < 1:
        raise ConfigError(f"width must be 1 or more, got {width!r}.")
    if stem not in get_args(Stem):
        raise ConfigError(f"stem must be one of {', '.join(get_args(Stem))}, got {stem!r}.")
