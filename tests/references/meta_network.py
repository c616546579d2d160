"""Our network for a step of the reference, without weights."""

import torch

from medsimclr.models.projection_head import ProjectionHead
from medsimclr.models.resnet import ResNet
from medsimclr.models.simclr import SimCLR
from tests.references.reference_step import StepCase

__all__ = ["meta_network"]


def meta_network(case: StepCase) -> SimCLR:
    """Build encoder and head of a case on the meta device: drawing weights would take seconds."""
    with torch.device("meta"):
        encoder = ResNet(
            depth=case.depth,
            width=case.width,
            selective_kernels=case.selective_kernels,
            stem=case.stem,
        )
        return SimCLR(encoder, ProjectionHead(in_dim=encoder.feature_dim))
