"""NT-Xent, the contrastive loss of SimCLR.

Source: arXiv 2002.05709, equation 1; `google-research/simclr` tf2/objective.py. Row i of view a
and row i of view b are a positive pair; the other 2N - 2 rows are the negatives of both.

N pairs, D projection.
"""

from typing import Literal, NamedTuple

import torch
from torch.nn import functional as F

__all__ = ["Convention", "NTXent", "nt_xent"]

Convention = Literal["reference", "mean"]

_MIN_SQUARED_NORM = 1e-12


class NTXent(NamedTuple):
    """The loss and, detached, two figures of the contrastive task; all scalars."""

    loss: torch.Tensor
    accuracy: torch.Tensor
    """Share of rows of view a whose most similar row of view b is their partner."""
    entropy: torch.Tensor
    """Mean entropy in nats of the softmax of a row of view a over the rows of view b."""


def nt_xent(
    z_a_ND: torch.Tensor,
    z_b_ND: torch.Tensor,
    *,
    temperature: float,
    convention: Convention = "reference",
) -> NTXent:
    """Compute the loss of N positive pairs, in float32 or better whatever the autocast.

    With z normalised to length 1, logits_a = [a·bᵀ | a·aᵀ without self] / T, logits_b likewise and
    the partner as target: loss = mean over the N pairs of CE_a + CE_b. Accuracy and entropy are of
    a·bᵀ / T alone, as the reference logs them.

    Args:
        z_a_ND: (N, D) projections of view a, not normalised.
        z_b_ND: (N, D) projections of view b.
        temperature: T; the reference takes 0.1 for ImageNet, 0.5 for CIFAR-10.
        convention: "reference" is the sum of both directions, as published. "mean" is the mean over
            the 2N anchors of the v1 paper and most PyTorch ports: half of it. The factor matters
            beside weight decay and for parameters without layer adaptation.
    """
    assert z_a_ND.shape == z_b_ND.shape, (z_a_ND.shape, z_b_ND.shape)
    with torch.autocast(z_a_ND.device.type, enabled=False):
        a_ND, b_ND = _normalised(z_a_ND), _normalised(z_b_ND)
        similarity_NN = a_ND @ b_ND.T / temperature
        self_NN = torch.eye(len(a_ND), dtype=torch.bool, device=a_ND.device)
        aa_NN = (a_ND @ a_ND.T / temperature).masked_fill(self_NN, -torch.inf)
        bb_NN = (b_ND @ b_ND.T / temperature).masked_fill(self_NN, -torch.inf)
        partner_N = torch.arange(len(a_ND), device=a_ND.device)
        loss_a = F.cross_entropy(torch.cat([similarity_NN, aa_NN], dim=1), partner_N)
        loss_b = F.cross_entropy(torch.cat([similarity_NN.T, bb_NN], dim=1), partner_N)
        loss = loss_a + loss_b
        if convention == "mean":
            loss = loss / 2
        return NTXent(loss, *_task_figures(similarity_NN.detach(), partner_N))


def _normalised(z_ND: torch.Tensor) -> torch.Tensor:
    z_ND = z_ND.to(torch.promote_types(z_ND.dtype, torch.float32))
    squared_norm_N1 = z_ND.square().sum(dim=1, keepdim=True)
    return z_ND * squared_norm_N1.clamp(min=_MIN_SQUARED_NORM).rsqrt()


def _task_figures(
    similarity_NN: torch.Tensor, partner_N: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    is_right_N = similarity_NN.argmax(dim=1) == partner_N
    log_probability_NN = similarity_NN.log_softmax(dim=1)
    entropy_N = -(log_probability_NN.exp() * log_probability_NN).sum(dim=1)
    return is_right_N.to(similarity_NN.dtype).mean(), entropy_N.mean()
