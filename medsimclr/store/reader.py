"""Open a tile store and read tiles in batches.

Nothing is trusted: metadata passes `schema`, per-tile tables and tiles pass their checksums.
"""

import math
import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsimclr.errors import IntegrityError, NoInputError
from medsimclr.store.codec import CRC_BYTES, CodecName, checked, decode_chunk
from medsimclr.store.safe_open import read_below
from medsimclr.store.schema import (
    SLIDE_ID,
    TABLE_ARRAYS,
    RootMeta,
    SlideMeta,
    read_meta,
)
from medsimclr.store.shard_reader import ShardReader, repair_advice

__all__ = ["TileStore", "committed_slides", "read_root_meta", "read_slide_meta"]

# Shards held open by one reader; each costs a file handle and a 4 kB index.
_OPEN_SHARDS = 256


class TileStore:
    """A committed tile store, opened for reading.

    Args:
        path: the folder that `medsimclr tile --out` wrote.
        n_threads: how many decode a batch side by side; one where processes do so already.

    Raises:
        NoInputError: there is no store, or it has no committed slide.
        IntegrityError: its metadata is not what the schema allows.
    """

    def __init__(self, path: Path, *, n_threads: int = 1) -> None:
        self.path = path
        self.meta = read_root_meta(path)
        self.slides = [read_slide_meta(path, slide_id) for slide_id in committed_slides(path)]
        if not self.slides:
            raise NoInputError(
                f"store {str(path)!r} must hold at least one committed slide, got none; run "
                "`medsimclr tile` again and read its report."
            )
        self._codec: CodecName = self.meta.tiling["codec"]
        self._n_threads = n_threads
        self._pool = ThreadPoolExecutor(n_threads) if n_threads > 1 else None
        self._shards: OrderedDict[tuple[int, int], ShardReader] = OrderedDict()

    def table(self, name: str) -> npt.NDArray[Any]:
        """Return one per-tile array of all slides, joined in slide order.

        Args:
            name: a key of `schema.TABLE_ARRAYS`.
        """
        return np.concatenate([self.slide_table(index, name) for index in range(len(self.slides))])

    def slide_table(self, slide_index: int, name: str) -> npt.NDArray[Any]:
        """Return one per-tile array of one slide, checked.

        Raises:
            IntegrityError: the array is missing, has another size or fails its checksum.
        """
        slide = self.slides[slide_index]
        dtype, columns = TABLE_ARRAYS[name]
        width = columns if isinstance(columns, int) else self._width(columns)
        n_rows = slide.n_left_out if name == "left_out" else slide.n_tiles
        shape = (n_rows,) if columns is None else (n_rows, width)
        if name == "left_out" and n_rows == 0:
            return np.empty(shape, dtype)
        key = f"{slide.slide_id}/{name}/{'c/0' if columns is None else 'c/0/0'}"
        n_bytes = math.prod(shape) * dtype.itemsize + CRC_BYTES
        try:
            content = read_below(self.path, key, least_bytes=n_bytes, most_bytes=n_bytes)
            return np.frombuffer(checked(content), dtype).reshape(shape)
        except (OSError, ValueError) as error:
            raise _damaged(self.path / key, _fact(error), store=self.path) from error

    def slide_left_out(
        self, slide_index: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return where a slide has no tile, (M, 2) level-0 x and y, and why, (M,).

        A reason is an index into `schema.LEFT_OUT_REASONS`.
        """
        left_out_M3 = self.slide_table(slide_index, "left_out")
        return left_out_M3[:, :2], left_out_M3[:, 2]

    def picture(self, slide_index: int, name: str) -> npt.NDArray[np.uint8]:
        """Return `mask` (h, w) or `thumbnail` (h, w, 3) of one slide, uint8.

        Raises:
            IntegrityError: the slide has no such array, or it is damaged.
        """
        slide = self.slides[slide_index]
        shapes = {key: shape for key, shape in slide.pictures.items() if key == name}
        key = f"{slide.slide_id}/{name}"
        if not shapes:
            raise _damaged(self.path / key, "the slide has no such picture", store=self.path)
        (shape,) = shapes.values()
        image = np.empty(shape, np.uint8)
        key = "/".join([key, "c", *["0"] * image.ndim])
        try:
            # A zstd frame is at most some bytes longer than what it holds.
            most_bytes = image.nbytes + (image.nbytes >> 7) + 1024
            decode_chunk(read_below(self.path, key, most_bytes=most_bytes), "zstd", out=image)
        except (OSError, ValueError) as error:
            raise _damaged(self.path / key, _fact(error), store=self.path) from error
        return image

    def read_tiles(
        self, slide_indices: Sequence[int], rows: Sequence[int]
    ) -> npt.NDArray[np.uint8]:
        """Decode tiles by slide and row: uint8 RGB (len(rows), T, T, 3), in the order asked."""
        tile_px = self.meta.tile_px
        batch = np.empty((len(rows), tile_px, tile_px, 3), np.uint8)
        for start in range(0, len(rows), _OPEN_SHARDS):
            part = slice(start, start + _OPEN_SHARDS)
            # Looked up first, by one thread: what is looked up stays open for the whole part.
            jobs = [
                (self._shard(int(slide), int(row) // self.meta.shard_tiles), int(row), out_HW3)
                for slide, row, out_HW3 in zip(
                    slide_indices[part], rows[part], batch[part], strict=True
                )
            ]
            if self._pool is None:
                self._read_all(jobs)
            else:
                shares = [jobs[i :: self._n_threads] for i in range(self._n_threads)]
                list(self._pool.map(self._read_all, shares))
        return batch

    def _read_all(self, jobs: Sequence[tuple[ShardReader, int, npt.NDArray[np.uint8]]]) -> None:
        for shard, row, out_HW3 in jobs:
            shard.read_into(row % self.meta.shard_tiles, out_HW3)

    def _shard(self, slide_index: int, shard: int) -> ShardReader:
        key = (slide_index, shard)
        if key in self._shards:
            self._shards.move_to_end(key)
            return self._shards[key]
        shard_key = f"{self.slides[slide_index].slide_id}/images/c/{shard}/0/0/0"
        reader = ShardReader(
            self.path, shard_key, codec=self._codec, shard_tiles=self.meta.shard_tiles
        )
        self._shards[key] = reader
        if len(self._shards) > _OPEN_SHARDS:
            self._shards.popitem(last=False)[1].close()
        return reader

    def _width(self, columns: str | None) -> int:
        return 1 if columns is None else len(getattr(self.meta, columns))


def committed_slides(store: Path) -> list[str]:
    """List the slides whose zarr.json is there, sorted; links are never followed."""
    with os.scandir(store) as entries:
        return sorted(
            entry.name
            for entry in entries
            if SLIDE_ID.fullmatch(entry.name)
            and entry.is_dir(follow_symlinks=False)
            # A link or a pipe in its place is no unfinished slide: reading it says what is wrong.
            and os.path.lexists(f"{entry.path}/zarr.json")
        )


def read_root_meta(store: Path) -> RootMeta:
    """Read and check the metadata of a store.

    Raises:
        NoInputError: there is none.
        IntegrityError: it is not of this schema, or not what was written.
    """
    if not os.path.lexists(store / "zarr.json"):
        raise NoInputError(
            f"{str(store)!r} must be a tile store, got no zarr.json in it; give the folder that "
            "`medsimclr tile --out` wrote."
        )
    return read_meta(store / "zarr.json", RootMeta)


def read_slide_meta(store: Path, slide_id: str) -> SlideMeta:
    """Read and check the metadata of one committed slide.

    Raises:
        IntegrityError: it is not of this schema, or speaks of another slide than its folder.
    """
    path = store / slide_id / "zarr.json"
    meta = read_meta(path, SlideMeta, below=store)
    if meta.slide_id != slide_id:
        fact = f"expected the metadata of {slide_id!r}, got {meta.slide_id!r}"
        raise _damaged(path, fact, store=store)
    return meta


def _fact(error: OSError | ValueError) -> str:
    """Return what went wrong, without the path that the sentence around it names."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _damaged(path: Path, fact: str, *, store: Path) -> IntegrityError:
    return IntegrityError(f"{str(path)!r} is damaged: {fact}; {repair_advice(store)}.")
