"""Peak memory of work in a process that has done nothing else.

glibc keeps what was freed where something above it is still in use: after a ResNet's step the heap
is up to 1.8 times what was ever held at once. So that peaks tell the algorithms apart and not the
heap, large tensors are mapped and returned one by one (mallopt), which takes time; `value_of`
leaves the heap as it is, for what measures time.
"""

import ctypes
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from process_tree import peak_resident_mb

__all__ = ["Measured", "measured", "value_of"]

_M_MMAP_THRESHOLD = -3  # malloc.h
_MAPPED_FROM_BYTES = 2**18

# Forked from a server that has imported torch and computed nothing: spawning takes seconds.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torch", "medsimclr.training.gradient_cache"])


class Measured(NamedTuple):
    """What work took."""

    peak_mb: float
    """Peak above what was resident when the work began, MB of 10^6 bytes."""
    cpu_seconds: float
    value: Any


def measured(prepare: Callable[..., Callable[[], Any]], *arguments: Any, threads: int) -> Measured:
    """Run prepare(*arguments)() in a fresh process; preparing is not measured.

    Its peak counts all that is touched for the first time, libraries' buffers too.
    """
    return _result(prepare, arguments, threads, is_mapped=True)


def value_of(prepare: Callable[..., Callable[[], Any]], *arguments: Any, threads: int) -> Any:
    """Return prepare(*arguments)() of a fresh process."""
    return _result(prepare, arguments, threads, is_mapped=False).value


def _result(
    prepare: Callable[..., Any], arguments: tuple[Any, ...], threads: int, *, is_mapped: bool
) -> Measured:
    here, there = multiprocessing.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_run, args=(there, prepare, arguments, threads, is_mapped))
    process.start()
    there.close()
    try:
        result: Measured = here.recv()
    except EOFError as error:
        raise SystemExit(f"{prepare.__name__}{arguments} must not fail or be killed.") from error
    process.join()
    return result


def _run(
    connection: Connection,
    prepare: Callable[..., Any],
    arguments: tuple[Any, ...],
    threads: int,
    is_mapped: bool,
) -> None:
    if is_mapped:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES)
    torch.set_num_threads(threads)
    work = prepare(*arguments)
    n_pages = int(Path("/proc/self/statm").read_text().split()[1])
    before_mb = n_pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    start = time.process_time()
    value = work()
    cpu_seconds = time.process_time() - start
    connection.send(Measured(peak_resident_mb(os.getpid()) - before_mb, cpu_seconds, value))
