"""The two networks that are trained: encoder with projection head, encoder with classifier.

Source: arXiv 2006.10029; `google-research/simclr` tf2/model.py.

B batch, C channels, H W pixels, D features, P projection, K classes.
"""

import torch
from torch import nn

from medsimclr.errors import ConfigError
from medsimclr.models.initial_weights import zero_dense
from medsimclr.models.projection_head import ProjectionHead
from medsimclr.models.resnet import ResNet

__all__ = ["Classifier", "SimCLR"]


class SimCLR(nn.Module):
    """Encoder and projection head, as pretrained."""

    def __init__(self, encoder: ResNet, head: ProjectionHead) -> None:
        super().__init__()
        assert head.in_dim == encoder.feature_dim, (head.in_dim, encoder.feature_dim)
        self.encoder = encoder
        self.head = head

    def forward(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) images in [0, 1] to (B, P) projections, not normalised."""
        projection_BP: torch.Tensor = self.head(self.encoder(image_BCHW))
        return projection_BP


class Classifier(nn.Module):
    """Encoder, the first layers of the projection head and one dense layer.

    Layers of the head above `head_layer` are not part of it: neither trained, counted nor saved.
    Encoder and head layers are shared with the arguments, not copied.

    Args:
        encoder: The encoder.
        head: The projection head it was pretrained with.
        head_layer: How many head layers to keep. SimCLRv2 keeps 1 for 1 % and 10 % of the labels, 0
            for all of them.
        n_classes: K. The dense layer has a bias and starts at zero.

    Raises:
        ConfigError: The head has no such layer, or there are fewer than two classes.
    """

    def __init__(
        self, encoder: ResNet, head: ProjectionHead, *, head_layer: int, n_classes: int
    ) -> None:
        super().__init__()
        if n_classes < 2:
            raise ConfigError(f"a classifier needs at least 2 classes, got {n_classes}.")
        assert head.in_dim == encoder.feature_dim, (head.in_dim, encoder.feature_dim)
        self.encoder = encoder
        self.head_layers = head.prefix(layer=head_layer)
        # LARS finds the layer by this name and leaves it out of decay and adaptation.
        self.supervised_head = zero_dense(head.dim(layer=head_layer), n_classes)

    def forward(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) images in [0, 1] to (B, K) logits."""
        logits_BK: torch.Tensor = self.supervised_head(self.features(image_BCHW))
        return logits_BK

    def features(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) images to the (B, D) input of the dense layer."""
        feature_BD: torch.Tensor = self.head_layers(self.encoder(image_BCHW))
        return feature_BD
