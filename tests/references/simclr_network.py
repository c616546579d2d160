"""SimCLRv2's encoder and projection head from the reference's variables, by their names.

Source: `google-research/simclr` tf2/resnet.py and tf2/model.py. The architecture is walked in the
order in which the reference builds its layers, which numbers them.
"""

from collections import Counter
from typing import NamedTuple

import torch

from tests.references.tf_layers import average_pool, batch_norm, convolution, max_pool

__all__ = ["Output", "simclr_network"]

_N_BLOCKS = {
    18: [2, 2, 2, 2],
    34: [3, 4, 6, 3],
    50: [3, 4, 6, 3],
    101: [3, 4, 23, 3],
    152: [3, 8, 36, 3],
    200: [3, 24, 36, 3],
}


class Output(NamedTuple):
    features_BD: torch.Tensor
    projection_BP: torch.Tensor
    moved: dict[str, torch.Tensor]
    """Moving statistics after a pass in training mode, by name."""


def simclr_network(
    variables: dict[str, torch.Tensor],
    image_BHWC: torch.Tensor,
    *,
    depth: int,
    selective_kernels: bool,
    small_stem: bool,
    training: bool,
) -> Output:
    walk = _Walk(variables, selective_kernels=selective_kernels, training=training)
    x = walk.stem(image_BHWC, small=small_stem)
    for i_group, n_blocks in enumerate(_N_BLOCKS[depth]):
        for i_block in range(n_blocks):
            block = walk.bottleneck if depth >= 50 else walk.basic
            first = i_block == 0
            walk.scope = f"resnet/block_group{i_group + 1}"
            x = block(x, s=2 if first and i_group > 0 else 1, project=first)
    features = x.sum(dim=(1, 2)) / (x.shape[1] * x.shape[2])
    return Output(features, walk.head(features), walk.moved or {})


class _Walk:
    def __init__(
        self, variables: dict[str, torch.Tensor], *, selective_kernels: bool, training: bool
    ) -> None:
        self.variables = variables
        self.is_sk = selective_kernels
        self.moved: dict[str, torch.Tensor] | None = {} if training else None
        self.counts: Counter[str] = Counter()
        self.scope = "resnet"

    def name(self, kind: str) -> str:
        self.counts[kind] += 1
        return kind if self.counts[kind] == 1 else f"{kind}_{self.counts[kind] - 1}"

    def conv(self, x: torch.Tensor, *, s: int, bare: bool = False) -> torch.Tensor:
        padding = "" if bare else self.name("conv2d_fixed_padding") + "/"
        kernel = self.variables[f"{self.scope}/{padding}{self.name('conv2d')}/kernel:0"]
        return convolution(x, kernel, s=s)

    def norm(self, x: torch.Tensor) -> torch.Tensor:
        names = f"{self.name('batch_norm_relu')}/{self.name('sync_batch_normalization')}"
        return batch_norm(x, self.variables, f"{self.scope}/{names}", moved=self.moved)

    def conv_norm_relu(self, x: torch.Tensor, *, s: int) -> torch.Tensor:
        return self.norm(self.conv(x, s=s)).clamp(min=0)

    def stem(self, x: torch.Tensor, *, small: bool) -> torch.Tensor:
        if small:
            return self.conv_norm_relu(x, s=1)
        x = self.conv_norm_relu(x, s=2)
        if self.is_sk:
            x = self.conv_norm_relu(self.conv_norm_relu(x, s=1), s=1)
        return max_pool(x, k=3, s=2)

    def shortcut(self, x: torch.Tensor, *, s: int) -> torch.Tensor:
        if self.is_sk:
            return self.norm(self.conv(average_pool(x, k=2, s=s), s=1))
        return self.norm(self.conv(x, s=s))

    def basic(self, x: torch.Tensor, *, s: int, project: bool) -> torch.Tensor:
        self.scope += "/" + self.name("residual_block")
        shortcut = self.shortcut(x, s=s) if project else x
        x = self.norm(self.conv(self.conv_norm_relu(x, s=s), s=1))
        return (x + shortcut).clamp(min=0)

    def bottleneck(self, x: torch.Tensor, *, s: int, project: bool) -> torch.Tensor:
        self.scope += "/" + self.name("bottleneck_block")
        shortcut = self.shortcut(x, s=s) if project else x
        x = self.conv_norm_relu(x, s=1)
        x = self.selective_kernel(x, s=s) if self.is_sk else self.conv_norm_relu(x, s=s)
        x = self.norm(self.conv(x, s=1))
        return (x + shortcut).clamp(min=0)

    def selective_kernel(self, x: torch.Tensor, *, s: int) -> torch.Tensor:
        outer = self.scope
        self.scope += "/" + self.name("sk__conv2d")
        x = self.conv_norm_relu(x, s=s)
        n_channels = x.shape[-1] // 2
        streams = torch.stack([x[..., :n_channels], x[..., n_channels:]])
        mixing = streams.sum(dim=0).mean(dim=(1, 2), keepdim=True)
        mixing = self.norm(self.conv(mixing, s=1, bare=True)).clamp(min=0)
        mixing = self.conv(mixing, s=1, bare=True)
        logits = torch.stack([mixing[..., :n_channels], mixing[..., n_channels:]])
        share = (logits - logits.amax(dim=0)).exp()
        share = share / share.sum(dim=0)
        self.scope = outer
        return (streams * share).sum(dim=0)

    def head(self, x: torch.Tensor) -> torch.Tensor:
        n_layers = len({name.split("/")[1] for name in self.variables if "/nl_" in name})
        for i in range(n_layers):
            self.scope = f"projection_head/nl_{i}"
            x = self.norm(x @ self.variables[f"{self.scope}/{self.name('dense')}/kernel:0"])
            if i < n_layers - 1:
                x = x.clamp(min=0)
        return x
