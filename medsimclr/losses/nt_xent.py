"""NT-Xent, the contrastive loss of SimCLR, on one process or many.

Source: arXiv 2002.05709, equation 1; `google-research/simclr` tf2/objective.py. Row i of view a
and row i of view b are a positive pair; the other 2N - 2 rows are the negatives of both.

n pairs of this process, N of all; R = 2n rows of this process, view a and then view b; K = 2N keys,
the rows of all processes in order of rank; D projection.
"""

from typing import Literal, NamedTuple

import torch
from torch.nn import functional as F

from medsimclr.distributed.gather import gather_with_gradient
from medsimclr.distributed.group import SINGLE, Group
from medsimclr.losses.nt_xent_blocks import nt_xent_in_blocks

__all__ = ["Convention", "Method", "NTXent", "nt_xent"]

Convention = Literal["reference", "mean"]
Method = Literal["auto", "whole", "blocks"]

_MIN_SQUARED_NORM = 1e-12
# Measured on a CPU by benchmarks/memory.py, D 128: blocks take 1.1 times the time of whole at 384
# pairs and 0.7 at 512. Not measured on a GPU.
_LEAST_SIMILARITIES_IN_BLOCKS = 1024**2


class NTXent(NamedTuple):
    """This process's shares of the loss and, detached, of two figures of the contrastive task.

    Scalars: sums over this process's pairs, divided by N. Summed over the processes they are the
    figures of the joined batch; of one process they are the figures themselves.
    """

    loss: torch.Tensor
    accuracy: torch.Tensor
    """Share of rows of view a whose most similar row of view b is their partner."""
    entropy: torch.Tensor
    """Mean entropy in nats of the softmax of a row of view a over the rows of view b."""


def nt_xent(
    z_a_nD: torch.Tensor,
    z_b_nD: torch.Tensor,
    *,
    temperature: float,
    convention: Convention = "reference",
    group: Group = SINGLE,
    method: Method = "auto",
) -> NTXent:
    """Compute the loss of N positive pairs, in float32 or better whatever the autocast.

    With z normalised to length 1, logits_a = [a·bᵀ | a·aᵀ without self] / T, logits_b likewise and
    the partner as target: loss = mean over the N pairs of CE_a + CE_b. Accuracy and entropy are of
    a·bᵀ / T alone, as the reference logs them.

    Across processes the rows of all are keys and each process's rows are its anchors. Its gradient
    is that of the joined loss by its own rows, so every process must call backward, with the same
    factor.

    Args:
        z_a_nD: (n, D) projections of view a, not normalised; as many on every process.
        z_b_nD: (n, D) projections of view b.
        temperature: T; the reference takes 0.1 for ImageNet, 0.5 for CIFAR-10.
        convention: "reference" is the sum of both directions, as published. "mean" is the mean over
            the 2N anchors of the v1 paper and most PyTorch ports: half of it. The factor matters
            beside weight decay and for parameters without layer adaptation.
        group: the processes that share the batch.
        method: "whole" holds the similarities of R rows to K keys, 4·R·K bytes several times over;
            "blocks" computes them in blocks and twice, and cannot be differentiated twice. Values
            and gradients are the same. "auto" takes the faster.
    """
    assert z_a_nD.shape == z_b_nD.shape, (z_a_nD.shape, z_b_nD.shape)
    with torch.autocast(z_a_nD.device.type, enabled=False):
        unit_RD = _normalised(torch.cat([z_a_nD, z_b_nD]))
        if method == "auto":
            n_similarities = 4 * len(z_a_nD) ** 2 * group.size
            method = "blocks" if n_similarities >= _LEAST_SIMILARITIES_IN_BLOCKS else "whole"
        compute = nt_xent_in_blocks if method == "blocks" else _whole
        loss, accuracy, entropy = compute(unit_RD, temperature=temperature, group=group)
        return NTXent(loss / 2 if convention == "mean" else loss, accuracy, entropy)


def _normalised(z_RD: torch.Tensor) -> torch.Tensor:
    z_RD = z_RD.to(torch.promote_types(z_RD.dtype, torch.float32))
    squared_norm_R1 = z_RD.square().sum(dim=1, keepdim=True)
    return z_RD * squared_norm_R1.clamp(min=_MIN_SQUARED_NORM).rsqrt()


def _whole(
    unit_RD: torch.Tensor, *, temperature: float, group: Group
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return loss, accuracy and entropy summed over this process's pairs, over N."""
    keys_KD = gather_with_gradient(unit_RD, group)
    n_rows, n_pairs, n_all = len(unit_RD), len(unit_RD) // 2, len(keys_KD) // 2
    first_row = group.rank * n_rows
    logits_RK = unit_RD @ keys_KD.T / temperature
    # Behind autograd's back: the gradient of what softmax sets to 0 is 0 anyway.
    logits_RK.detach().diagonal(first_row).fill_(-torch.inf)
    row_R = torch.arange(n_rows, device=unit_RD.device)
    partner_R = first_row + row_R.roll(n_pairs)
    loss = F.cross_entropy(logits_RK, partner_R, reduction="sum") / n_all
    # Of the keys, those of view b: the second half of each process's.
    ab_nN = logits_RK[:n_pairs].detach().view(n_pairs, group.size, 2, n_pairs)[:, :, 1].flatten(1)
    n_right = (ab_nN.argmax(dim=1) == group.rank * n_pairs + row_R[:n_pairs]).sum()
    entropy = torch.special.entr(ab_nN.softmax(dim=1)).sum() / n_all
    return loss, n_right.to(loss.dtype) / n_all, entropy
