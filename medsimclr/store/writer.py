"""Write a tile store, one slide at a time; the slide's zarr.json, written last, is its commit."""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import ShardingCodec

from medsimclr.config.base import difference
from medsimclr.errors import ConfigError
from medsimclr.files.atomic import (
    PARTIAL_SUFFIX,
    output_errors,
    remove_partials,
    sync_folder,
    sync_tree,
    write_json,
)
from medsimclr.files.checksum import sha256_of_file
from medsimclr.store.codec import CodecName, chunk_codecs, register_jpeg_codec
from medsimclr.store.reader import committed_slides, read_slide_meta
from medsimclr.store.schema import (
    SHARD_TILES,
    TABLE_ARRAYS,
    RootMeta,
    SlideMeta,
    group_json,
    read_meta,
)

__all__ = ["StoreWriter", "TileBatch"]

_PICTURES = ("mask", "thumbnail")
_TABLE_CODECS: list[dict[str, Any]] = [{"name": "bytes"}, {"name": "crc32c"}]
_PICTURE_CODECS: list[dict[str, Any]] = [
    {"name": "bytes"},
    {"name": "zstd", "configuration": {"level": 3, "checksum": True}},
]


@dataclass(frozen=True)
class TileBatch:
    """Up to `SHARD_TILES` decoded tiles: images_NHW3 uint8 and quality_NK float32."""

    images_NHW3: npt.NDArray[np.uint8]
    quality_NK: npt.NDArray[np.float32]


class StoreWriter:
    """The one writer of a store; hold the store's lock while using it.

    Args:
        path: the store's folder, there and locked.
        meta: what the store must be.

    Raises:
        ConfigError: the folder holds a store of another configuration, or something else.
    """

    def __init__(self, path: Path, meta: RootMeta) -> None:
        self.path = path
        self.meta = meta
        root = path / "zarr.json"
        if root.is_file():
            _check_same(path, read_meta(root, RootMeta), meta)
        elif any(not entry.name.endswith(PARTIAL_SUFFIX) for entry in path.iterdir()):
            raise ConfigError(
                f"--out {str(path)!r} must be new, empty or a tile store, got a folder with other "
                "files; choose another --out."
            )
        else:
            write_json(root, group_json(meta))

    def sweep(self) -> None:
        """Delete what a killed run left: partial files, and slides without their commit."""
        remove_partials(self.path)
        committed = set(committed_slides(self.path))
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink() and entry.name not in committed:
                shutil.rmtree(entry)

    def committed(self) -> dict[str, SlideMeta]:
        """Return the slides that need no work, by id."""
        return {
            slide_id: read_slide_meta(self.path, slide_id)
            for slide_id in committed_slides(self.path)
        }

    def write_slide(
        self,
        *,
        facts: Mapping[str, Any],
        tables: Mapping[str, npt.NDArray[Any]],
        pictures: Mapping[str, npt.NDArray[np.uint8]],
        batches: Iterable[TileBatch],
    ) -> SlideMeta:
        """Write one slide whole, then commit it.

        Args:
            facts: the fields of `SlideMeta` that are not known from the arrays.
            tables: per-tile arrays, without `quality`.
            pictures: `mask` and `thumbnail`, or nothing.
            batches: the tiles in order; all but the last hold `SHARD_TILES`.
        """
        n_tiles = len(tables["level0_xy"])
        folder = self.path / facts["slide_id"]
        with output_errors(folder):
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir()
            quality_NK = self._write_images(folder / "images", batches, n_tiles=n_tiles)
            for name, values in {**tables, "quality": quality_NK}.items():
                dtype, _ = TABLE_ARRAYS[name]
                _write_array(folder / name, values.astype(dtype), _TABLE_CODECS)
            for name, image in pictures.items():
                assert name in _PICTURES, name
                _write_array(folder / name, image, _PICTURE_CODECS)
            sync_tree(folder)
            sync_folder(self.path)
            arrays = sorted(entry.name for entry in folder.iterdir())
            meta = SlideMeta(**facts, n_tiles=n_tiles, arrays=arrays, digests=_digests(folder))
            write_json(folder / "zarr.json", group_json(meta))
        return meta

    def _write_images(
        self, path: Path, batches: Iterable[TileBatch], *, n_tiles: int
    ) -> npt.NDArray[np.float32]:
        register_jpeg_codec()
        tile_px = self.meta.tile_px
        codec: CodecName = self.meta.tiling["codec"]
        codecs = chunk_codecs(codec, jpeg_quality=self.meta.tiling["jpeg_quality"])
        images = _create_array(
            path,
            shape=(n_tiles, tile_px, tile_px, 3),
            dtype=np.dtype(np.uint8),
            chunk=(SHARD_TILES, tile_px, tile_px, 3),
            codecs=[ShardingCodec(chunk_shape=(1, tile_px, tile_px, 3), codecs=codecs).to_dict()],
        )
        quality: list[npt.NDArray[np.float32]] = []
        start = 0
        for batch in batches:
            stop = start + len(batch.images_NHW3)
            assert start % SHARD_TILES == 0, "a shard is never written twice"
            images[start:stop] = batch.images_NHW3
            quality.append(batch.quality_NK)
            start = stop
        assert start == n_tiles, (start, n_tiles)
        return np.concatenate(quality)


def _create_array(
    path: Path,
    *,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    chunk: tuple[int, ...],
    codecs: list[dict[str, Any]],
) -> Any:
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": codecs,
        "attributes": {},
    }
    path.mkdir()
    # Not durable yet: the whole slide is flushed before its commit.
    (path / "zarr.json").write_text(json.dumps(metadata, indent=2), encoding="utf-8")
    # A chunk of zeros must be written too: a file that is not there has no checksum.
    # (open_array takes this setting too, and ignores it for an array that exists.)
    return zarr.open_array(path, mode="r+").with_config({"write_empty_chunks": True})


def _write_array(path: Path, values: npt.NDArray[Any], codecs: list[dict[str, Any]]) -> None:
    array = _create_array(
        path, shape=values.shape, dtype=values.dtype, chunk=values.shape, codecs=codecs
    )
    array[...] = values


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.glob("*/c/**/*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of_file(path) for path in files}


def _check_same(path: Path, old: RootMeta, new: RootMeta) -> None:
    changes = difference(
        {"classes": old.classes, **old.tiling}, {"classes": new.classes, **new.tiling}
    )
    if changes:
        raise ConfigError(
            f"store {str(path)!r} belongs to another tiling configuration ({'; '.join(changes)}); "
            "repeat that configuration, choose another --out, or add --overwrite."
        )
