"""Read single tiles out of zarr shards: index once, pread, check, decode.

Layout (zarr v3 specification, sharding codec 1.0): the file ends with an index of 16 bytes a chunk,
little-endian (offset, length), followed by its crc32c. zarr's own fancy indexing reads whole shards
and returns zeros for a missing one; here both are an `IntegrityError` or are not done at all.
"""

import os
import weakref
from pathlib import Path

import google_crc32c
import imagecodecs
import numpy as np
import numpy.typing as npt

from medsimclr.errors import IntegrityError
from medsimclr.store.codec import CodecName, decode_jpeg
from medsimclr.store.schema import SHARD_TILES

__all__ = ["ShardReader"]

_INDEX_BYTES = SHARD_TILES * 16
_CRC_BYTES = 4
_EMPTY = 2**64 - 1


class ShardReader:
    """One open shard file.

    Safe to share between forked processes: every read names its own offset.
    """

    def __init__(self, path: Path, *, codec: CodecName, tile_px: int) -> None:
        self._path = path
        self._codec = codec
        self._tile_px = tile_px
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            raise IntegrityError(
                f"shard {str(path)!r} must be there, got {error.strerror!r}; run `medsimclr tile` "
                "again with --overwrite."
            ) from error
        # Also when nobody closes it: a store that is dropped must not keep its shards open.
        self._closing = weakref.finalize(self, os.close, self._file)
        self._index_S2 = self._read_index()

    def close(self) -> None:
        """Close the file."""
        self._closing()

    def read_into(self, row: int, out_HW3: npt.NDArray[np.uint8]) -> None:
        """Decode tile `row` of this shard into `out_HW3`.

        Raises:
            IntegrityError: the tile is absent or its bytes are not those that were written.
        """
        offset, length = (int(value) for value in self._index_S2[row])
        if offset == _EMPTY:
            raise self._damage(f"tile {row} is absent")
        chunk = self._read(length, offset)
        try:
            if self._codec == "zstd":
                # Into `out`: a frame may claim any size, and would be given that much memory.
                n_bytes = len(imagecodecs.zstd_decode(chunk, out=out_HW3.reshape(-1).data))
                assert n_bytes == out_HW3.size, n_bytes
                return
            payload = self._checked(chunk, f"tile {row}")
            if self._codec == "jpeg":
                decoded = decode_jpeg(payload, out=out_HW3)
                assert decoded.shape == out_HW3.shape
            else:
                out_HW3[...] = np.frombuffer(payload, np.uint8).reshape(out_HW3.shape)
        except (RuntimeError, ValueError, AssertionError) as error:
            raise self._damage(f"tile {row} does not decode") from error

    def _read_index(self) -> npt.NDArray[np.uint64]:
        size = os.fstat(self._file).st_size
        start = size - _INDEX_BYTES - _CRC_BYTES
        if start < 0:
            raise self._damage(f"{size} bytes cannot hold its index")
        index = self._checked(self._read(_INDEX_BYTES + _CRC_BYTES, start), "the index")
        return np.frombuffer(index, "<u8").reshape(SHARD_TILES, 2)

    def _read(self, length: int, offset: int) -> bytes:
        size = os.fstat(self._file).st_size
        if not 0 < length <= size - offset:
            raise self._damage(f"{length} bytes at {offset} lie outside its {size} bytes")
        return os.pread(self._file, length, offset)

    def _checked(self, content: bytes, what: str) -> bytes:
        payload, stored = content[:-_CRC_BYTES], content[-_CRC_BYTES:]
        if google_crc32c.value(payload) != int.from_bytes(stored, "little"):
            raise self._damage(f"{what} fails its crc32c")
        return payload

    def _damage(self, fact: str) -> IntegrityError:
        return IntegrityError(
            f"shard {str(self._path)!r} is damaged: {fact}; restore it from a copy or run "
            "`medsimclr tile` again with --overwrite."
        )
