"""Views of tiles in batches: two random to contrast, one random to learn, one fixed to test."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from medsimclr.augment.policy import AugmentationPolicy, apply_seeded
from medsimclr.data.order import Sample
from medsimclr.data.tile_index import TileIndex
from medsimclr.errors import MedSimCLRError
from medsimclr.store.reader import TileStore

__all__ = ["RandomViewKind", "TileViews", "evaluation_view", "load_batches"]

RandomViewKind = Literal["contrastive", "supervised"]
ViewKind = Literal["contrastive", "supervised", "evaluation"]
# Share of a tile's side that the evaluation view shows (SimCLR, `data_util.py`, CROP_PROPORTION).
_CENTRE_SHARE = 0.875
_SMALL_PX = 32
_STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
_PR_SET_PDEATHSIG = 1
"""linux/prctl.h: the signal that a process gets when its parent ends."""
_WORKER_NICENESS = 10


class TileViews(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Batches of views out of a store.

    A batch is (views, labels): views uint8 (V, B, P, P, 3) with V = 2 for contrastive views and 1
    else, labels int64 (B,), -1 for none. The store is opened in the process that reads it.

    Args:
        store: the tile store's folder.
        index: the tiles to read.
        kind: which views to draw.
        policy: draws them; not needed for evaluation views.
        view_px: side P of a view.
        seed: together with (epoch, tile, view) seeds every draw.
    """

    def __init__(
        self,
        store: Path,
        index: TileIndex,
        *,
        kind: ViewKind,
        view_px: int,
        policy: AugmentationPolicy | None = None,
        seed: int = 0,
    ) -> None:
        self._path = store
        self._store: TileStore | None = None
        self._index = index
        self._kind = kind
        self._view_px = view_px
        self._seed = seed
        self._compose = None
        if kind != "evaluation":
            assert policy is not None, "random views need a policy"
            draw = policy.contrastive if kind == "contrastive" else policy.supervised
            self._compose = draw(view_px)

    def __len__(self) -> int:
        return len(self._index)

    def __getitems__(
        self, samples: Sequence[Sample]
    ) -> tuple[torch.Tensor, torch.Tensor] | MedSimCLRError:
        """Read a batch of (epoch, position) samples.

        In a loader process an error of ours is given back, for `load_batches` to raise.
        """
        try:
            return self._batch(samples)
        except MedSimCLRError as error:
            if get_worker_info() is None:
                raise
            return error

    def _batch(self, samples: Sequence[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
        if self._store is None:
            cv2.setNumThreads(0)  # loader workers already use every core
            self._store = TileStore(self._path)
        rows = [position for _, position in samples]
        tiles_BHW3 = self._store.read_tiles(
            self._index.slide_N[rows].tolist(), self._index.row_N[rows].tolist()
        )
        n_views = 2 if self._kind == "contrastive" else 1
        views = np.empty((n_views, len(rows), self._view_px, self._view_px, 3), np.uint8)
        for b, (epoch, position) in enumerate(samples):
            for v in range(n_views):
                seed = (self._seed, epoch, int(self._index.id_N[position]), v)
                views[v, b] = self._view(tiles_BHW3[b], seed)
        return torch.from_numpy(views), torch.from_numpy(self._index.label_N[rows])

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Read one tile of the first epoch, as a batch of one."""
        return self._batch([(0, position)])

    def _view(
        self, tile_HW3: npt.NDArray[np.uint8], seed: tuple[int, int, int, int]
    ) -> npt.NDArray[np.uint8]:
        if self._compose is None:
            return evaluation_view(tile_HW3, view_px=self._view_px)
        return apply_seeded(self._compose, tile_HW3, seed=seed)


def evaluation_view(tile_HW3: npt.NDArray[np.uint8], *, view_px: int) -> npt.NDArray[np.uint8]:
    """Return the centre of a tile, 87.5 % of its side, resized bicubically to (P, P, 3).

    Views of 32 px or less show the whole tile, as the reference does for CIFAR-10.
    """
    height, width = tile_HW3.shape[:2]
    share = 1.0 if view_px <= _SMALL_PX else _CENTRE_SHARE
    side = round(min(height, width) * share)
    top, left = (height - side) // 2, (width - side) // 2
    centre = tile_HW3[top : top + side, left : left + side]
    if side == view_px:
        return centre
    resized = cv2.resize(centre, (view_px, view_px), interpolation=cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8)


def load_batches(
    views: TileViews, order: Iterable[list[Sample]], *, n_workers: int, is_pinned: bool = False
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Read batches in the given order, ahead of their use where there are workers."""
    loader = DataLoader(
        views,
        batch_sampler=order,
        num_workers=n_workers,
        collate_fn=_unchanged,
        worker_init_fn=_step_back,
        pin_memory=is_pinned,
        prefetch_factor=4 if n_workers else None,
    )
    # Workers are born deaf to what a signal to the group would do to them before they are set up.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        batches = iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return _guarded(batches, has_workers=n_workers > 0)


def _guarded(batches: Any, *, has_workers: bool) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Raise what a worker could not read as it was, and never leave a worker behind.

    torch would raise it with the worker's traceback for a message, and while an error's traceback
    keeps the iterator, its workers live on and, deaf to SIGTERM, hold up the end of the process.
    """
    try:
        for batch in batches:
            if isinstance(batch, MedSimCLRError):
                raise batch
            yield batch
    finally:
        if has_workers:
            batches._shutdown_workers()


def _step_back(worker: int) -> None:
    # Schedulers signal the whole process group; a dead worker would keep the parent from saving.
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        # An orphan would keep the run's lock, and its connections to other processes, for seconds.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The threads of a step wait for one another: a worker that takes the core of one stops all.
    # Not 19: beside busy neighbours such a worker gets next to nothing, and the step waits for it.
    os.nice(_WORKER_NICENESS)


def _unchanged(batch: Any) -> Any:
    return batch
