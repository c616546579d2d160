"""Write the tiles of one slide into zarr shards, one after the other.

Layout (zarr v3 specification, sharding codec 1.0): chunks in order, then an index of 16 bytes a
chunk, little-endian (offset, length), 2**64 - 1 twice for a chunk that is not there, then its
crc32c. The same bytes as zarr-python writes; but a tile is on its way to the disk as soon as it is
encoded, so that memory does not grow with the shard, and the digest is taken on the way.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

import google_crc32c
import numpy as np

from medsimclr.files.atomic import output_error, output_errors

__all__ = ["ABSENT", "ShardWriter"]

ABSENT = 2**64 - 1
_BUFFER_BYTES = 1 << 20


class ShardWriter:
    """The shards `c/<i>/0/0/0` of an array of tiles.

    Args:
        array: folder of the array.
        shard_tiles: chunks in a shard.
    """

    def __init__(self, array: Path, *, shard_tiles: int) -> None:
        self._array = array
        self._shard_tiles = shard_tiles
        self._index: list[tuple[int, int]] = []
        self._offset = 0
        self.n_tiles = 0
        self.digests: dict[str, str] = {}
        """SHA-256 of every finished shard, by its path below `array`."""

    def append(self, chunk: bytes) -> None:
        """Write one encoded tile.

        Raises:
            OutputError: it cannot be written.
        """
        if not self._index:
            self._open()
        try:
            self._file.write(chunk)
        except OSError as error:
            raise output_error(self._array, error) from error
        self._sha256.update(chunk)
        self._index.append((self._offset, len(chunk)))
        self._offset += len(chunk)
        self.n_tiles += 1
        if len(self._index) == self._shard_tiles:
            self.finish()

    def finish(self) -> None:
        """Write the index of the shard under way, if there is one."""
        if not self._index:
            return
        index_S2 = np.full((self._shard_tiles, 2), ABSENT, "<u8")
        index_S2[: len(self._index)] = self._index
        content = index_S2.tobytes()
        content += google_crc32c.value(content).to_bytes(4, "little")
        with output_errors(self._array):
            self._file.write(content)
            self._file.close()
        self._sha256.update(content)
        self.digests[self._name] = self._sha256.hexdigest()
        self._index, self._offset = [], 0

    def abandon(self) -> None:
        """Close the shard under way, unfinished."""
        if self._index:
            # Closing writes what is buffered, which fails like what failed before.
            with suppress(OSError):
                self._file.close()
            self._index = []

    def _open(self) -> None:
        self._name = f"c/{self.n_tiles // self._shard_tiles}/0/0/0"
        path = self._array / self._name
        with output_errors(self._array):
            path.parent.mkdir(parents=True)
            self._file = path.open("xb", buffering=_BUFFER_BYTES)
        self._sha256 = hashlib.sha256()
