"""The projection head of SimCLRv2, whose first layer stays for fine-tuning.

Source: arXiv 2006.10029, Section 2; `google-research/simclr` tf2/model.py, ProjectionHead.

B batch, D features of the encoder, P projection (out_dim).
"""

from collections import OrderedDict

import torch
from torch import nn

from medsimclr.errors import ConfigError
from medsimclr.models.batch_norm import BatchNorm
from medsimclr.models.initial_weights import dense, weight_generator

__all__ = ["ProjectionHead"]


class ProjectionHead(nn.Module):
    """Dense layers, each with batch norm, from features to projection.

    Layers 1 to n_layers - 1: dense D → D without bias, batch norm, ReLU. The last: dense D → P
    without bias, batch norm without beta, no ReLU.

    Args:
        in_dim: D.
        n_layers: Number of dense layers; SimCLRv2 takes 3.
        out_dim: P; SimCLRv2 takes 128.
        generator: Source of the starting weights; None means a new one with seed 0.

    Attributes:
        layers: The layers; a prefix of them is what fine-tuning keeps.
    """

    def __init__(
        self,
        *,
        in_dim: int,
        n_layers: int = 3,
        out_dim: int = 128,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if n_layers < 1:
            raise ConfigError(f"n_layers of the projection head must be 1 or more, got {n_layers}.")
        generator = weight_generator(generator)
        self.in_dim = in_dim
        self.out_dim = out_dim
        self.layers = nn.Sequential()
        for _ in range(n_layers - 1):
            self.layers.append(_hidden_layer(in_dim, generator=generator))
        self.layers.append(_last_layer(in_dim, out_dim, generator=generator))

    @property
    def n_layers(self) -> int:
        """Number of dense layers."""
        return len(self.layers)

    def forward(self, h_BD: torch.Tensor) -> torch.Tensor:
        """Map (B, D) features to (B, P) projections, not normalised."""
        return self.hidden(h_BD, layer=self.n_layers)

    def hidden(self, h_BD: torch.Tensor, *, layer: int) -> torch.Tensor:
        """Return the output of head layer `layer`; 0 is the encoder's output, `h_BD` itself.

        Raises:
            ConfigError: The head has no such layer.
        """
        for head_layer in self.prefix(layer=layer):
            h_BD = head_layer(h_BD)
        return h_BD

    def prefix(self, *, layer: int) -> nn.Sequential:
        """Return the first `layer` layers; the modules are shared, not copied.

        Raises:
            ConfigError: The head has no such layer.
        """
        if not 0 <= layer <= self.n_layers:
            raise ConfigError(
                f"head layer must be 0 (the encoder's output) to {self.n_layers}, got {layer}."
            )
        return nn.Sequential(*list(self.layers)[:layer])

    def dim(self, *, layer: int) -> int:
        """Return the size of the output of head layer `layer`."""
        return self.out_dim if layer == self.n_layers else self.in_dim


def _hidden_layer(dim: int, *, generator: torch.Generator) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            dense=dense(dim, dim, generator=generator), bn=BatchNorm(dim), relu=nn.ReLU()
        )
    )


def _last_layer(in_dim: int, out_dim: int, *, generator: torch.Generator) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            dense=dense(in_dim, out_dim, generator=generator),
            bn=BatchNorm(out_dim, has_beta=False),
        )
    )
