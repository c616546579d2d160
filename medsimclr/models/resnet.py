"""The residual network of SimCLRv2, with or without selective kernels.

Source: arXiv 2006.10029; `google-research/simclr` tf2/resnet.py. It differs from the usual PyTorch
ResNet in the first block of group 1, which has a projection shortcut too; in the padding of pools
(see stem and blocks); in the moving variance (see batch_norm); and in the starting weights.

Images are float in [0, 1], without mean/std normalisation.

B batch, C channels, H W height and width in pixels, D features: 512·width (basic blocks) or
2048·width (bottlenecks).
"""

from typing import Literal, get_args

import torch
from torch import nn

from medsimclr.errors import ConfigError
from medsimclr.models.blocks import Block
from medsimclr.models.initial_weights import weight_generator
from medsimclr.models.recompute import recomputed
from medsimclr.models.stem import resnet_d_stem, small_stem, standard_stem

__all__ = ["Depth", "ResNet", "Stem", "stem_for"]

Depth = Literal[18, 34, 50, 101, 152, 200]
Stem = Literal["standard", "small"]

_BASE_CHANNELS = 64
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
        selective_kernels: The variant that the paper calls SK: selective kernels in bottlenecks (at
            depth 18 and 34 there are none), stem and shortcuts of ResNet-D.
        stem: "standard" is 7x7/2 (with selective kernels three 3x3) and max-pool 3x3/2, "small"
            3x3/1 without pool; see `stem_for`.
        recompute: Forget the activations of stem and blocks and compute them again in backward.
        generator: Source of the starting weights; None means a new one with seed 0.

    Attributes:
        feature_dim: D, the number of features.
        recompute: As given; may be changed at any time.

    Raises:
        ConfigError: An argument is outside its choices.
    """

    def __init__(
        self,
        *,
        depth: Depth,
        width: int = 1,
        selective_kernels: bool = False,
        stem: Stem = "standard",
        recompute: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check(depth, width, stem)
        generator = weight_generator(generator)
        in_channels = _BASE_CHANNELS * width
        standard = resnet_d_stem if selective_kernels else standard_stem
        self.stem = (small_stem if stem == "small" else standard)(in_channels, generator=generator)
        self.groups = nn.Sequential()
        for i_group, n_blocks in enumerate(_N_BLOCKS[depth]):
            group = nn.Sequential()
            for i_block in range(n_blocks):
                block = Block(
                    in_channels,
                    _BASE_CHANNELS * width * 2**i_group,
                    stride=2 if i_block == 0 and i_group > 0 else 1,
                    has_projection=i_block == 0,
                    is_bottleneck=depth >= 50,
                    selective_kernels=selective_kernels,
                    generator=generator,
                )
                in_channels = block.out_channels
                group.append(block)
            self.groups.append(group)
        self.feature_dim: int = in_channels
        self.recompute = recompute

    def forward(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) images in [0, 1] to (B, D) features, the mean over the last map.

        Any height and width from 1 px on will do; maps are then down to 1 px.

        Raises:
            ConfigError: The shape is no such batch of images.
        """
        _check_images(image_BCHW)
        map_BCHW = image_BCHW
        blocks = (block for group in self.groups.children() for block in group.children())
        for stage in (self.stem, *blocks):
            if self.recompute and torch.is_grad_enabled():
                map_BCHW = recomputed(stage, map_BCHW)
            else:
                map_BCHW = stage(map_BCHW)
        return map_BCHW.mean(dim=(2, 3))


def _check(depth: int, width: int, stem: str) -> None:
    if depth not in _N_BLOCKS:
        known = ", ".join(map(str, _N_BLOCKS))
        raise ConfigError(f"depth must be one of {known}, got {depth!r}.")
    if width < 1:
        raise ConfigError(f"width must be 1 or more, got {width!r}.")
    if stem not in get_args(Stem):
        raise ConfigError(f"stem must be one of {', '.join(get_args(Stem))}, got {stem!r}.")


def _check_images(image_BCHW: torch.Tensor) -> None:
    shape = tuple(image_BCHW.shape)
    if len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < 1:
        raise ConfigError(
            f"images must be (batch, 3, height, width) of 1 px or more, got shape {shape}."
        )
