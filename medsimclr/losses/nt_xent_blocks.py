"""NT-Xent without holding the matrix of similarities: memory grows with N, not with N².

The matrix is computed in square blocks, twice: for the log-sum-exp of every row, and for the
gradient. Recomputing is the idea of FlashAttention (arXiv 2205.14135). The rest follows from
s_ij = s_ji:

- Of the loss of ALL anchors, row i's gradient needs only its own similarities and one number of
  every other row, its log-sum-exp: Σ_j (exp(s_ij - lse_i) + exp(s_ij - lse_j)) z_j - 2 z_partner,
  over T N. Going forward processes exchange their rows and these numbers, going backward nothing.
- Blocks of this process's rows against themselves are computed on one side of the diagonal only.

The sums leave the partner out, and the loss is log(1 + exp(negatives - s_partner)): where partners
align, as they do after training, `1 - softmax` would keep only the rounding error of float32.

n pairs of this process, N of all; R = 2n rows of this process, view a and then view b; K = 2N keys,
the rows of all processes in order of rank; D projection; I J rows and columns of a block, or of the
corner of it that compares view a with view b. Slices are of keys.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.autograd.function import FunctionCtx

from medsimclr.distributed.group import Group

__all__ = ["nt_xent_in_blocks"]

# 256, 512 and 1,024 rows were within 5 % of one another on a CPU with 1 MB of L2 cache a core. A
# GPU wants fewer and larger kernels; its side is not measured.
_BLOCK_ROWS_CPU = 512
_BLOCK_ROWS_GPU = 4096


def nt_xent_in_blocks(
    unit_RD: torch.Tensor, *, temperature: float, group: Group, block_rows: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return loss, accuracy and entropy summed over this process's pairs, over N.

    The gradient is that of the sum of all processes' losses, provided that all of them pass theirs
    to backward, with the same factor. It cannot be differentiated again: that is a RuntimeError.

    Args:
        unit_RD: (2n, D) rows of length 1: view a of this process's pairs, then view b.
        temperature: T.
        group: the processes, each with as many rows.
        block_rows: side of a block; None is what suits the device.
    """
    if block_rows is None:
        block_rows = _BLOCK_ROWS_CPU if unit_RD.device.type == "cpu" else _BLOCK_ROWS_GPU
    loss, accuracy, entropy = _InBlocks.apply(  # type: ignore[no-untyped-call]
        unit_RD, temperature, group, block_rows
    )
    return loss, accuracy, entropy


class _InBlocks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, unit_RD: torch.Tensor, temperature: float, group: Group, block_rows: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        similarities = _Similarities(
            group.gather(unit_RD), len(unit_RD), group.rank, temperature, block_rows
        )
        n_pairs, n_all = len(unit_RD) // 2, len(similarities.keys_KD) // 2
        negatives_K = unit_RD.new_full((2 * n_all,), -torch.inf)
        task = _Task(similarities)
        for rows, columns, is_mirrored in similarities.blocks():
            similarity_IJ = similarities.block(rows, columns)
            task.add(similarity_IJ, rows, columns)
            similarities.mask_positives(similarity_IJ, rows, columns)
            _merge_lse(negatives_K[rows], similarity_IJ.logsumexp(dim=1))
            if is_mirrored:
                _merge_lse(negatives_K[columns], similarity_IJ.logsumexp(dim=0))
        partner_n = (unit_RD[:n_pairs] * unit_RD[n_pairs:]).sum(dim=1) / temperature
        excess_R = negatives_K[similarities.own] - partner_n.repeat(2)
        loss_R = torch.logaddexp(excess_R, torch.zeros_like(excess_R))
        accuracy, entropy = task.n_right() / n_all, task.entropy_n.sum() / n_all
        lse_K = group.gather(loss_R + partner_n.repeat(2))
        ctx.save_for_backward(similarities.keys_KD, lse_K, excess_R)
        ctx.layout = similarities[1:]  # type: ignore[attr-defined]
        ctx.mark_non_differentiable(accuracy, entropy)
        return loss_R.sum() / n_all, accuracy, entropy

    @staticmethod
    def backward(
        ctx: Any, grad_loss: torch.Tensor, *_: torch.Tensor
    ) -> tuple[torch.Tensor, None, None, None]:
        # Not once_differentiable: that takes this gradient for a constant, without a word, unless
        # the loss was scaled by something that requires a gradient.
        if torch.is_grad_enabled():
            raise RuntimeError(
                "NT-Xent in blocks cannot be differentiated twice; method 'whole' can."
            )
        keys_KD, lse_K, excess_R = ctx.saved_tensors
        similarities = _Similarities(keys_KD, *ctx.layout)
        with torch.autocast(keys_KD.device.type, enabled=False):
            gradient_RD = _gradient(similarities, lse_K, excess_R)
        factor = grad_loss / (similarities.temperature * (len(keys_KD) // 2))
        return gradient_RD * factor, None, None, None


def _gradient(
    similarities: "_Similarities", lse_K: torch.Tensor, excess_R: torch.Tensor
) -> torch.Tensor:
    """Return T N times the gradient by this process's rows."""
    keys_KD, own = similarities.keys_KD, similarities.own
    gradient_KD = torch.zeros_like(keys_KD)
    for rows, columns, is_mirrored in similarities.blocks():
        similarity_IJ = similarities.block(rows, columns)
        similarities.mask_positives(similarity_IJ, rows, columns)
        weight_IJ = (similarity_IJ - lse_K[columns]).exp_()
        weight_IJ += similarity_IJ.sub_(lse_K[rows, None]).exp_()
        gradient_KD[rows].addmm_(weight_IJ, keys_KD[columns])
        if is_mirrored:
            gradient_KD[columns].addmm_(weight_IJ.T, keys_KD[rows])
    # 1 - softmax of the partner, which is the target of a's cross-entropy and of b's.
    attraction_n = excess_R.sigmoid().view(2, -1).sum(dim=0)
    partner_RD = keys_KD[own].roll(len(attraction_n), dims=0)
    return gradient_KD[own] - attraction_n.repeat(2)[:, None] * partner_RD


def _merge_lse(lse: torch.Tensor, added: torch.Tensor) -> None:
    torch.logaddexp(lse, added, out=lse)


class _Similarities(NamedTuple):
    """The similarities of this process's rows to all keys, block by block."""

    keys_KD: torch.Tensor
    n_rows: int
    rank: int
    temperature: float
    block_rows: int

    @property
    def own(self) -> slice:
        """This process's rows."""
        return slice(self.rank * self.n_rows, (self.rank + 1) * self.n_rows)

    def blocks(self) -> Iterator[tuple[slice, slice, bool]]:
        """Yield rows, columns, and whether they stand for the block across the diagonal too."""
        side = self.block_rows
        for row in range(self.own.start, self.own.stop, side):
            rows = slice(row, min(row + side, self.own.stop))
            # Rank by rank, so that a block's columns belong to one process.
            for start in range(0, len(self.keys_KD), self.n_rows):
                is_own = start == self.own.start
                for column in range(row if is_own else start, start + self.n_rows, side):
                    columns = slice(column, min(column + side, start + self.n_rows))
                    yield rows, columns, is_own and column > row

    def block(self, rows: slice, columns: slice) -> torch.Tensor:
        """Return s_IJ, a new tensor."""
        return (self.keys_KD[rows] @ self.keys_KD[columns].T).div_(self.temperature)

    def mask_positives(self, similarity_IJ: torch.Tensor, rows: slice, columns: slice) -> None:
        """Set a row's similarity to itself and to its partner to -inf, leaving its negatives."""
        if not self.own.start <= columns.start < self.own.stop:
            return
        n_pairs = self.n_rows // 2
        for partner in (-n_pairs, 0, n_pairs):
            offset = rows.start - columns.start + partner
            similarity_IJ.diagonal(offset).fill_(-torch.inf)


class _Task:
    """Which row of view b is most similar to each of view a, and with what entropy."""

    def __init__(self, similarities: _Similarities) -> None:
        keys_KD = similarities.keys_KD
        self._own_start = similarities.own.start
        self._n_pairs = n_pairs = similarities.n_rows // 2
        self._best_n = keys_KD.new_full((n_pairs,), -torch.inf)
        self._best_key_n = torch.full((n_pairs,), -1, device=keys_KD.device)
        self._lse_n = keys_KD.new_full((n_pairs,), -torch.inf)
        self.entropy_n = keys_KD.new_zeros(n_pairs)
        """In nats, of the blocks added so far."""

    def add(self, similarity_IJ: torch.Tensor, rows: slice, columns: slice) -> None:
        """Take in the corner of a block that compares view a with view b, if it has one."""
        n_rows = 2 * self._n_pairs
        n_a_rows = max(self._n_pairs - rows.start % n_rows, 0)
        n_a_columns = max(self._n_pairs - columns.start % n_rows, 0)
        corner_IJ = similarity_IJ[:n_a_rows, n_a_columns:]
        if corner_IJ.numel() == 0:
            return
        first = rows.start - self._own_start
        pairs = slice(first, first + len(corner_IJ))
        self._add_best(corner_IJ, pairs, first_key=columns.start + n_a_columns)
        self._add_entropy(corner_IJ, pairs)

    def n_right(self) -> torch.Tensor:
        """Return how many rows of view a are most similar to their partner."""
        partner_n = torch.arange(self._n_pairs, device=self._best_n.device)
        partner_n += self._own_start + self._n_pairs
        return (self._best_key_n == partner_n).to(self._best_n.dtype).sum()

    def _add_best(self, corner_IJ: torch.Tensor, pairs: slice, *, first_key: int) -> None:
        best_I, column_I = corner_IJ.max(dim=1)
        # The first of equals, as argmax: a collapsed network must not seem right everywhere.
        is_better_I = best_I > self._best_n[pairs]
        self._best_n[pairs] = best_I.where(is_better_I, self._best_n[pairs])
        self._best_key_n[pairs] = (column_I + first_key).where(is_better_I, self._best_key_n[pairs])

    def _add_entropy(self, corner_IJ: torch.Tensor, pairs: slice) -> None:
        """Merge: the entropy of a mixture is that of its parts plus that of their shares."""
        lse_I = corner_IJ.logsumexp(dim=1)
        log_p_IJ = corner_IJ - lse_I[:, None]
        entropy_I = -log_p_IJ.exp().mul_(log_p_IJ).sum(dim=1)
        merged_I = torch.logaddexp(self._lse_n[pairs], lse_I)
        old_I, new_I = (self._lse_n[pairs] - merged_I).exp(), (lse_I - merged_I).exp()
        of_shares_I = torch.special.entr(old_I) + torch.special.entr(new_I)
        self.entropy_n[pairs] = old_I * self.entropy_n[pairs] + new_I * entropy_I + of_shares_I
        self._lse_n[pairs] = merged_I
