"""Where a training computes and with whom."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from medsimclr.config.training import TrainingConfig
from medsimclr.distributed.agreement import on_main
from medsimclr.distributed.group import Group, joined_group
from medsimclr.errors import ConfigError
from medsimclr.training.compute import (
    Compute,
    choose_compute,
    keep_freed_memory,
    return_freed_memory,
    use_ieee_float32,
)
from medsimclr.training.run_directory import recorded_threads

__all__ = ["Session", "open_session", "share_of"]


class Session(NamedTuple):
    """Device and precision of a training, and the processes that share it."""

    compute: Compute
    group: Group


@contextmanager
def open_session(config: TrainingConfig) -> Iterator[Session]:
    """Choose device, precision and threads, and join the processes that torchrun started.

    The number of threads is put back at the end. How the C library keeps freed memory and how GPUs
    compute float32 is a matter of the whole process, and stays.

    Raises:
        ConfigError: the device is not here, or the batch does not fall into equal shares.
    """
    threads_before = torch.get_num_threads()
    try:
        torch.set_num_threads(config.threads or recorded_threads(config.out) or threads_before)
        use_ieee_float32()
        (return_freed_memory if config.saves_memory() else keep_freed_memory)()
        device, precision = choose_compute(config)
        with joined_group(device, timeout_seconds=config.lost_process_seconds) as group:
            share_of("--batch-size", config.batch_size, group)
            # Processors of several machines may differ in what suits them.
            precision = on_main(group, lambda: precision)
            yield Session(Compute(group.device, precision), group)
    finally:
        torch.set_num_threads(threads_before)


def share_of(option: str, n_tiles: int, group: Group) -> int:
    """Return how many of `n_tiles` each process holds.

    Raises:
        ConfigError: they do not fall into equal shares; `option` is what the user gave.
    """
    if n_tiles % group.size:
        raise ConfigError(
            f"{option} must be a multiple of the {group.size} processes, got {n_tiles}; "
            f"give {n_tiles - n_tiles % group.size or group.size} or another number of processes."
        )
    return n_tiles // group.size
