"""The processes that train together, as torchrun starts them.

Loss and gradients of a process are its share: summed over the processes they are those of the whole
batch. One process needs no torch.distributed: every operation is then the identity.

n rows of this process, N rows of all.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from medsimclr.errors import ConfigError

__all__ = ["SINGLE", "Group", "joined_group"]

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Group:
    """One process's place among those that train together."""

    rank: int = 0
    size: int = 1
    device: torch.device = _CPU
    """Where tensors that travel between the processes must lie."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes, speaks and measures for all."""
        return self.rank == 0

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum over all processes, without gradient; the value itself of one."""
        if self.size == 1:
            return value
        total = value.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    def wait(self) -> None:
        """Wait until all processes have come to this point."""
        if self.size > 1:
            dist.barrier()

    def gather(self, rows_n: torch.Tensor) -> torch.Tensor:
        """Return the rows of all processes, as many from each, in order of rank; no gradient."""
        if self.size == 1:
            return rows_n
        rows_n = rows_n.detach().contiguous()
        rows_N = rows_n.new_empty((self.size * len(rows_n), *rows_n.shape[1:]))
        dist.all_gather_into_tensor(rows_N, rows_n)
        return rows_N


SINGLE = Group()
"""This process alone."""


@contextmanager
def joined_group(device: torch.device, *, timeout_seconds: float) -> Iterator[Group]:
    """Join the processes that torchrun started; without torchrun this process is alone.

    Args:
        device: CPU processes speak gloo, CUDA processes nccl.
        timeout_seconds: how long one process waits for the others before it gives up.

    Raises:
        ConfigError: the environment names a rank outside the world.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if not 0 <= rank < size:
        raise ConfigError(
            f"RANK must be between 0 and WORLD_SIZE - 1, got RANK {rank} of WORLD_SIZE {size}; "
            "start the processes with torchrun."
        )
    if size == 1:
        yield SINGLE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", timeout=timedelta(seconds=timeout_seconds)
    )
    try:
        yield Group(rank, size, device)
    finally:
        dist.destroy_process_group()
