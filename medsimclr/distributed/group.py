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

from medsimclr.errors import ConfigError, LostProcessError

__all__ = ["SINGLE", "Group", "joined_group", "local_device"]

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Group:
    """One process's place among those that train together.

    Every operation must be called by all of them, in the same order and with the same shapes. It
    raises LostProcessError where another process is gone, or silent for longer than the timeout.
    """

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
        self.sum_(total)
        return total

    def sum_(self, value: torch.Tensor) -> None:
        """Replace a contiguous tensor by its sum over all processes, without gradient."""
        if self.size > 1:
            with _lost_process_named(self):
                dist.all_reduce(value)

    def wait(self) -> None:
        """Wait until all processes have come to this point."""
        if self.size > 1:
            with _lost_process_named(self):
                dist.barrier()

    def gather(self, rows_n: torch.Tensor) -> torch.Tensor:
        """Return the rows of all processes, as many from each, in order of rank; no gradient."""
        if self.size == 1:
            return rows_n
        rows_n = rows_n.detach().contiguous()
        rows_N = rows_n.new_empty((self.size * len(rows_n), *rows_n.shape[1:]))
        with _lost_process_named(self):
            # The one collective that also takes a single tensor got a new name with PyTorch 2.13.
            dist.all_gather(list(rows_N.split(len(rows_n))), rows_n)
        return rows_N


SINGLE = Group()
"""This process alone."""


def local_device(device: torch.device) -> torch.device:
    """Return the device of this process: "cuda" is that of its LOCAL_RANK on its machine.

    Raises:
        ConfigError: the machine has fewer devices than processes, or all would be on the same.
    """
    if device.type != "cuda":
        return device
    if device.index is not None:
        n_here = _number("LOCAL_WORLD_SIZE", "1")
        if n_here > 1:
            raise ConfigError(
                f"--device must name no single GPU for the {n_here} processes of this machine, got "
                f"'{device}'; give --device cuda, of which each process takes its own."
            )
        return device
    index = _number("LOCAL_RANK", "0")
    if index >= torch.cuda.device_count():
        raise ConfigError(
            f"LOCAL_RANK must be below this machine's number of CUDA devices, "
            f"{torch.cuda.device_count()}, got {index}; lower --nproc-per-node or give "
            "--device cpu."
        )
    return torch.device("cuda", index)


@contextmanager
def joined_group(device: torch.device, *, timeout_seconds: float) -> Iterator[Group]:
    """Join the processes that torchrun started; without torchrun this process is alone.

    Leaving it, by an error too, closes the connections: the others' next operation then fails.

    Args:
        device: CPU processes speak gloo, CUDA processes nccl, each on its own device.
        timeout_seconds: how long one process waits for the others before it gives up; longer than
            the longest work that one process does while the others wait.

    Raises:
        ConfigError: the environment names a rank outside the world, or no meeting place, or one
            that another program has taken.
        LostProcessError: the others do not come within the timeout.
    """
    rank, size = _number("RANK", "0"), _number("WORLD_SIZE", "1")
    if not 0 <= rank < size:
        raise ConfigError(
            f"RANK must be between 0 and WORLD_SIZE - 1, got RANK {rank} of WORLD_SIZE {size}; "
            "start the processes with torchrun."
        )
    device = local_device(device)
    if size == 1:
        yield Group(device=device)
        return
    if not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise ConfigError(
            f"WORLD_SIZE {size} needs MASTER_ADDR and MASTER_PORT in the environment, got none; "
            "start the processes with torchrun."
        )
    group = Group(rank, size, device)
    if dist.is_initialized():
        # One training of several, as in --find-temperature: torchrun lets processes meet only once.
        yield group
        return
    is_cuda = device.type == "cuda"
    if is_cuda:
        torch.cuda.set_device(device)
    with _lost_process_named(group), _taken_port_named():
        dist.init_process_group(
            "nccl" if is_cuda else "gloo",
            timeout=timedelta(seconds=timeout_seconds),
            device_id=device if is_cuda else None,
        )
    try:
        yield group
    finally:
        dist.destroy_process_group()


def _number(name: str, default: str) -> int:
    text = os.environ.get(name, default)
    if not text.isdecimal():
        raise ConfigError(
            f"{name} in the environment must be a number from 0, got {text!r}; start the processes "
            "with torchrun, or unset it."
        )
    return int(text)


@contextmanager
def _taken_port_named() -> Iterator[None]:
    """Say that nobody was lost where the processes cannot meet; around the meeting."""
    try:
        yield
    except dist.DistNetworkError as error:
        if "EADDRINUSE" not in str(error):
            raise
        raise ConfigError(
            f"MASTER_PORT must be free on this machine, got {os.environ['MASTER_PORT']}, where "
            "another program listens; give torchrun another --master-port, or --standalone."
        ) from error


@contextmanager
def _lost_process_named(group: Group) -> Iterator[None]:
    """Say what torch's error of a collective means; around collectives and nothing else.

    torch raises its own DistError and plain RuntimeErrors of gloo alike. They cannot tell who was
    lost: the connection that breaks is often that to a process that gave up for the same reason.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        # A RuntimeError too, of this process and no other.
        raise
    except RuntimeError as error:
        # Its first sentence, without the line of gloo's source.
        reason = str(error).splitlines()[0].rpartition("] ")[2].split(". ")[0].rstrip(".")
        raise LostProcessError(
            f"process {group.rank + 1} of {group.size} waited in vain for another one, which died, "
            f"hangs or ended with an error of its own ({reason}); run the same command again to go "
            "on from the last checkpoint."
        ) from error
