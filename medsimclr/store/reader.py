"""Open a tile store and read tiles in batches.

Nothing is trusted: metadata passes `schema`, per-tile tables and tiles pass their checksums.
"""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import zarr

from medsimclr.errors import IntegrityError, NoInputError
from medsimclr.store.codec import CodecName, register_jpeg_codec
from medsimclr.store.schema import (
    SHARD_TILES,
    SLIDE_ID,
    TABLE_ARRAYS,
    RootMeta,
    SlideMeta,
    read_meta,
)
from medsimclr.store.shard import ShardReader

__all__ = ["TileStore", "committed_slides", "read_slide_meta"]

# Shards held open by one reader; each costs a file handle and a 4 kB index.
_OPEN_SHARDS = 256
_MAX_PICTURE_PX = 8192


class TileStore:
    """A committed tile store, opened for reading.

    Args:
        path: the folder that `medsimclr tile --out` wrote.

    Raises:
        NoInputError: there is no store, or it has no committed slide.
        IntegrityError: its metadata is not what the schema allows.
    """

    def __init__(self, path: Path) -> None:
        if not (path / "zarr.json").is_file():
            raise NoInputError(
                f"{str(path)!r} must be a tile store, got no zarr.json in it; give the folder "
                "that `medsimclr tile --out` wrote."
            )
        self.path = path
        self.meta = read_meta(path / "zarr.json", RootMeta)
        self.slides = [read_slide_meta(path, slide_id) for slide_id in committed_slides(path)]
        if not self.slides:
            raise NoInputError(
                f"store {str(path)!r} must hold at least one committed slide, got none; run "
                "`medsimclr tile` again and read its report."
            )
        self._codec: CodecName = self.meta.tiling["codec"]
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
        shape = (slide.n_tiles,) if columns is None else (slide.n_tiles, width)
        chunk = "c/0" if columns is None else "c/0/0"
        path = self.path / slide.slide_id / name / chunk
        expected_bytes = int(np.prod(shape)) * dtype.itemsize + 4
        try:
            content = path.read_bytes()
        except OSError as error:
            raise _damaged(path, error.strerror or "it cannot be read") from error
        if len(content) != expected_bytes:
            raise _damaged(path, f"expected {expected_bytes} bytes, got {len(content)}")
        if google_crc32c.value(content[:-4]) != int.from_bytes(content[-4:], "little"):
            raise _damaged(path, "it fails its crc32c")
        return np.frombuffer(content[:-4], dtype).reshape(shape)

    def picture(self, slide_index: int, name: str) -> npt.NDArray[np.uint8]:
        """Return `mask` (h, w) or `thumbnail` (h, w, 3) of one slide, uint8.

        Raises:
            IntegrityError: the slide has no such array, or it is damaged.
        """
        slide = self.slides[slide_index]
        path = self.path / slide.slide_id / name
        missing = [
            key for key in slide.digests if key.startswith(f"{name}/") and not self._has(slide, key)
        ]
        if name not in slide.arrays or missing:
            raise _damaged(path, "it is missing")
        try:
            array = zarr.open_array(path, mode="r")
            # One chunk, which is there: zarr would fill any other with zeros.
            if array.dtype != np.uint8 or array.chunks != array.shape:
                raise ValueError(
                    f"expected one chunk of uint8, got {array.dtype}, shape {array.shape}"
                )
            if max(array.shape) > _MAX_PICTURE_PX:
                raise ValueError(f"it is larger than {_MAX_PICTURE_PX} px: {array.shape}")
            return np.asarray(array[...], dtype=np.uint8)
        except Exception as error:  # whatever zarr's parsers and codecs raise on foreign metadata
            raise _damaged(path, str(error)) from error

    def read_tiles(
        self, slide_indices: Sequence[int], rows: Sequence[int]
    ) -> npt.NDArray[np.uint8]:
        """Decode tiles by slide and row: uint8 RGB (len(rows), T, T, 3), in the order asked."""
        tile_px = self.meta.tile_px
        batch = np.empty((len(rows), tile_px, tile_px, 3), np.uint8)
        for out_HW3, slide_index, row in zip(batch, slide_indices, rows, strict=True):
            shard, offset = divmod(int(row), SHARD_TILES)
            self._shard(int(slide_index), shard).read_into(offset, out_HW3)
        return batch

    def _shard(self, slide_index: int, shard: int) -> ShardReader:
        key = (slide_index, shard)
        if key in self._shards:
            self._shards.move_to_end(key)
            return self._shards[key]
        path = self.path / self.slides[slide_index].slide_id / "images" / f"c/{shard}/0/0/0"
        reader = ShardReader(path, codec=self._codec, tile_px=self.meta.tile_px)
        self._shards[key] = reader
        if len(self._shards) > _OPEN_SHARDS:
            self._shards.popitem(last=False)[1].close()
        return reader

    def _width(self, columns: str | None) -> int:
        return 1 if columns is None else len(getattr(self.meta, columns))

    def _has(self, slide: SlideMeta, key: str) -> bool:
        return (self.path / slide.slide_id / key).is_file()


def committed_slides(store: Path) -> list[str]:
    """List the slides whose zarr.json is there, sorted; links are never followed."""
    return sorted(
        entry.name
        for entry in store.iterdir()
        if SLIDE_ID.fullmatch(entry.name)
        and entry.is_dir()
        and not entry.is_symlink()
        and (entry / "zarr.json").is_file()
    )


def read_slide_meta(store: Path, slide_id: str) -> SlideMeta:
    """Read and check the metadata of one committed slide.

    Raises:
        IntegrityError: it is not of this schema, or speaks of another slide than its folder.
    """
    path = store / slide_id / "zarr.json"
    meta = read_meta(path, SlideMeta)
    if meta.slide_id != slide_id:
        raise _damaged(path, f"expected the metadata of {slide_id!r}, got {meta.slide_id!r}")
    return meta


def _damaged(path: Path, fact: str) -> IntegrityError:
    return IntegrityError(
        f"{str(path)!r} is damaged: {fact}; restore it from a copy or run `medsimclr tile` "
        "again with --overwrite."
    )


# zarr opens pictures, and our JPEG codec is part of the same hierarchy.
register_jpeg_codec()
