"""Read single tiles out of zarr shards: index once, pread, check, decode.

The layout is that of `shard_writer`. zarr's own fancy indexing reads whole shards and returns zeros
for a missing one; here both are an `IntegrityError` or are not done at all.
"""

import os
import shlex
import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medsimclr.errors import IntegrityError
from medsimclr.store.codec import CRC_BYTES, CodecName, checked, decode_chunk
from medsimclr.store.safe_open import open_below
from medsimclr.store.shard_writer import ABSENT

__all__ = ["ShardReader", "repair_advice"]


class ShardReader:
    """One open shard file.

    Safe to share between forked processes: every read names its own offset.

    Args:
        store: the store's folder; below it links are not followed.
        key: path of the shard below it.
        codec: how its tiles are stored.
        shard_tiles: tiles that its index has room for.

    Raises:
        IntegrityError: it is missing or no regular file, or its index is damaged.
    """

    def __init__(self, store: Path, key: str, *, codec: CodecName, shard_tiles: int) -> None:
        self._store = store
        self._path = store / key
        self._codec = codec
        try:
            self._file, self._size = open_below(store, key)
        except OSError as error:
            raise IntegrityError(
                f"shard {str(self._path)!r} must be there, got {error.strerror!r}; "
                f"{repair_advice(store)}."
            ) from error
        # Also when nobody closes it: a store that is dropped must not keep its shards open.
        self._closing = weakref.finalize(self, os.close, self._file)
        self._index = self._read_index(shard_tiles)

    def close(self) -> None:
        """Close the file."""
        self._closing()

    def read_into(self, row: int, out_HW3: npt.NDArray[np.uint8]) -> None:
        """Decode tile `row` of this shard into `out_HW3`.

        Raises:
            IntegrityError: the tile is absent or its bytes are not those that were written.
        """
        offset, length = self._index[row]
        if offset == ABSENT:
            raise self._damage(f"tile {row} is absent")
        try:
            decode_chunk(self._read(length, offset), self._codec, out=out_HW3)
        except ValueError as error:
            raise self._damage(f"tile {row} does not decode: {error}") from error

    def _read_index(self, shard_tiles: int) -> list[tuple[int, int]]:
        n_bytes = shard_tiles * 16 + CRC_BYTES
        if self._size < n_bytes:
            raise self._damage(f"{self._size} bytes cannot hold its index")
        try:
            content = checked(self._read(n_bytes, self._size - n_bytes))
        except ValueError as error:
            raise self._damage(f"the index: {error}") from error
        # Python integers: a tile's lookup in an array of uint64 would cost more than its pread.
        return [
            (pair[0], pair[1]) for pair in np.frombuffer(content, "<u8").reshape(-1, 2).tolist()
        ]

    def _read(self, length: int, offset: int) -> bytes:
        if not 0 < length <= self._size - offset:
            raise self._damage(f"{length} bytes at {offset} lie outside its {self._size} bytes")
        try:
            return os.pread(self._file, length, offset)
        except OSError as error:
            fact = f"{length} bytes at {offset} cannot be read: {error.strerror}"
            raise self._damage(fact) from error

    def _damage(self, fact: str) -> IntegrityError:
        return IntegrityError(
            f"shard {str(self._path)!r} is damaged: {fact}; {repair_advice(self._store)}."
        )


def repair_advice(store: Path) -> str:
    """Return what to do about a damaged file of a store, as the end of a sentence."""
    return (
        f"run `medsimclr verify {shlex.quote(str(store))} SLIDES --repair` with the slides, "
        "--annotations and --slides-csv that `medsimclr tile` was given, or restore a copy"
    )
