"""Where a training computes and with whom."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from medsimclr.config.base import option_name
from medsimclr.config.training import TrainingConfig
from medsimclr.distributed.agreement import on_main
from medsimclr.distributed.group import Group, joined_group
from medsimclr.errors import ConfigError, MedSimCLRError
from medsimclr.training.compute import (
    Compute,
    choose_compute,
    keep_freed_memory,
    return_freed_memory,
    use_ieee_float32,
)
from medsimclr.training.run_directory import recorded_threads

__all__ = ["Session", "open_session", "share_of"]


# What PyTorch, NumPy, CUDA's libraries, OpenCV and the system say: they share no exception.
_ASKED = re.compile(r"(?:tried|unable) to allocate ([\d.]+ \w+)", re.IGNORECASE)
_REFUSED = re.compile(
    r"to allocate|allocate memory|out of memory|alloc_failed|insufficient memory", re.IGNORECASE
)


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
        ConfigError: the device is not here, the batch does not fall into equal shares, or what is
            done with the session does not fit the memory.
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
            with _fitting_memory(config):
                yield Session(Compute(group.device, precision), group)
    finally:
        torch.set_num_threads(threads_before)


@contextmanager
def _fitting_memory(config: TrainingConfig) -> Iterator[None]:
    """Turn memory that was refused into advice; a system that kills instead lets nobody speak."""
    try:
        yield
    except MedSimCLRError:
        raise
    except Exception as error:
        if _REFUSED.search(str(error)) is None and not isinstance(error, MemoryError):
            raise
        size = _ASKED.search(str(error))
        smaller = ("batch_size", "view_px", "micro_batch")
        known = [option_name(type(config), k) for k in smaller if k in type(config).model_fields]
        raise ConfigError(
            "network and activations must fit the memory, got a refusal when the training "
            f"{f'tried to allocate {size[1]}' if size else 'asked for more'}; give a smaller "
            f"{' or '.join(known)}, with another --out if this one has begun, or --set "
            "recompute=true. What was saved stays."
        ) from error


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
