"""The order of samples: a pure function of (seed, position), never of workers or processes.

Epochs follow one another without a gap, as in the reference's repeated data set: batch s takes the
positions s·B to (s+1)·B, and a batch may lie across two epochs. Of each batch a process takes the
slice of its rank: put together in order of rank, the slices are the batch of one process.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["BatchOrder", "OwnRows", "Sample"]

Sample = tuple[int, int]
"""(epoch, position of the tile in its index)."""


@dataclass(frozen=True, kw_only=True)
class OwnRows:
    """Which batches, and which rows of them, a process takes: what every order has to know.

    Args:
        batch_size: samples a batch, over all processes.
        seed: seed of everything drawn.
        start_step: first batch.
        stop_step: batch to stop before.
        rank: this process, from 0.
        size: number of processes; divides batch_size.
    """

    batch_size: int
    seed: int
    start_step: int
    stop_step: int
    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        """Check that the processes have equal parts."""
        assert self.batch_size % self.size == 0, (self.batch_size, self.size)
        assert 0 <= self.rank < self.size, (self.rank, self.size)

    def __len__(self) -> int:
        return self.stop_step - self.start_step


@dataclass(frozen=True, kw_only=True)
class BatchOrder(OwnRows):
    """One process's rows of the batches from one step to another; a torch batch sampler.

    Args:
        n_tiles: tiles in an epoch.
    """

    n_tiles: int

    def __iter__(self) -> Iterator[list[Sample]]:
        n_own = self.batch_size // self.size
        epoch, order = -1, np.empty(0, np.int64)
        for step in range(self.start_step, self.stop_step):
            batch: list[Sample] = []
            first = step * self.batch_size + self.rank * n_own
            for position in range(first, first + n_own):
                if position // self.n_tiles != epoch:
                    epoch = position // self.n_tiles
                    order = np.random.default_rng([self.seed, epoch]).permutation(self.n_tiles)
                batch.append((epoch, int(order[position % self.n_tiles])))
            yield batch
