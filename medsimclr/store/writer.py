"""Write a tile store, one slide at a time; the slide's zarr.json, written last, is its commit."""

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsimclr.config.base import difference
from medsimclr.errors import ConfigError, SlideError
from medsimclr.files.atomic import (
    PARTIAL_SUFFIX,
    output_errors,
    remove_partials,
    sync_folder,
    sync_tree,
    write_json,
)
from medsimclr.store.array import array_json, write_array
from medsimclr.store.codec import CodecName, chunk_codecs, encode_chunk
from medsimclr.store.reader import committed_slides, read_slide_meta
from medsimclr.store.schema import (
    PICTURES,
    SLIDE_ID,
    TABLE_ARRAYS,
    RootMeta,
    SlideMeta,
    group_json,
    read_meta,
)
from medsimclr.store.shard_writer import ShardWriter

__all__ = ["StoreWriter", "Tile", "check_same"]


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile on its way into the store."""

    row: int
    """Its row in the slide's tables."""
    pixels: npt.NDArray[np.uint8] | bytes
    """RGB uint8 (T, T, 3), good until the next tile is asked for; or a JPEG stream to copy."""
    quality: tuple[float, ...]
    """One figure for each of the store's quality names."""
    left_out: int | None = None
    """Index into `LEFT_OUT_REASONS` of a tile that is only noted."""


@dataclass
class _Written:
    """What `_write_tiles` knows in the end."""

    rows: list[int]
    quality: list[tuple[float, ...]]
    left_out: list[tuple[int, int]]
    digests: dict[str, str]


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
            check_same(path, read_meta(root, RootMeta), meta)
        elif any(not entry.name.endswith(PARTIAL_SUFFIX) for entry in path.iterdir()):
            raise ConfigError(
                f"--out {str(path)!r} must be new, empty or a tile store, got a folder with other "
                "files; choose another --out, or add --overwrite if it is a store that lost its "
                "zarr.json."
            )
        else:
            write_json(root, group_json(meta))

    def sweep(self) -> None:
        """Delete what a killed run left: partial files, and slides without their commit.

        A folder that holds anything but arrays of ours was put there by somebody else, and stays.
        """
        remove_partials(self.path)
        committed = set(committed_slides(self.path))
        with output_errors(self.path):
            for entry in self.path.iterdir():
                is_folder = entry.is_dir() and not entry.is_symlink()
                if is_folder and entry.name not in committed and _is_unfinished(entry):
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
        tiles: Iterable[Tile],
        left_out_M3: npt.NDArray[np.int64] | None = None,
    ) -> SlideMeta:
        """Write one slide whole, then commit it.

        Args:
            facts: the fields of `SlideMeta` that are not known from the arrays.
            tables: per-tile arrays, without `quality`; the rows that `tiles` names are kept.
            pictures: `mask` and `thumbnail`, or nothing.
            tiles: the tiles in the order of their rows.
            left_out_M3: x, y and reason of the places without a tile, in level-0 pixels.
        """
        folder = self.path / _checked_id(facts["slide_id"])
        with output_errors(folder):
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir()
        written = self._write_tiles(folder, tiles)
        with output_errors(folder):
            arrays: dict[str, npt.NDArray[Any]] = {k: v[written.rows] for k, v in tables.items()}
            arrays["quality"] = np.array(written.quality)
            noted_M3 = _noted(tables["level0_xy"], left_out_M3, written.left_out)
            if len(noted_M3):
                arrays["left_out"] = noted_M3
            digests = written.digests
            for name, values in arrays.items():
                of_array = write_array(folder / name, values.astype(TABLE_ARRAYS[name][0]), "raw")
                digests |= {f"{name}/{key}": digest for key, digest in of_array.items()}
            for name, image in pictures.items():
                assert name in PICTURES, name
                of_array = write_array(folder / name, image, "zstd")
                digests |= {f"{name}/{key}": digest for key, digest in of_array.items()}
            sync_tree(folder)
            sync_folder(self.path)
            meta = SlideMeta(
                **facts,
                n_tiles=len(written.rows),
                n_left_out=len(noted_M3),
                pictures={name: image.shape for name, image in pictures.items()},
                digests=dict(sorted(digests.items())),
            )
            write_json(folder / "zarr.json", group_json(meta))
        return meta

    def _write_tiles(self, folder: Path, tiles: Iterable[Tile]) -> _Written:
        """Write all tiles; errors in making one are the slide's, errors in writing the output's."""
        codec: CodecName = self.meta.tiling["codec"]
        quality: int = self.meta.tiling["jpeg_quality"]
        written = _Written([], [], [], {})
        shards = ShardWriter(folder / "images", shard_tiles=self.meta.shard_tiles)
        try:
            for tile in tiles:
                if tile.left_out is not None:
                    written.left_out.append((tile.row, tile.left_out))
                    continue
                shards.append(encode_chunk(tile.pixels, codec, jpeg_quality=quality))
                written.rows.append(tile.row)
                written.quality.append(tile.quality)
            with output_errors(folder):
                shards.finish()
                metadata = self._images_json(shards.n_tiles)
                (folder / "images" / "zarr.json").write_bytes(metadata)
        finally:
            shards.abandon()
        written.digests = {f"images/{key}": digest for key, digest in shards.digests.items()}
        written.digests["images/zarr.json"] = hashlib.sha256(metadata).hexdigest()
        return written

    def _images_json(self, n_tiles: int) -> bytes:
        tile_px, shard_tiles = self.meta.tile_px, self.meta.shard_tiles
        codec: CodecName = self.meta.tiling["codec"]
        sharding = {
            "chunk_shape": [1, tile_px, tile_px, 3],
            "codecs": chunk_codecs(codec, jpeg_quality=self.meta.tiling["jpeg_quality"]),
            "index_codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "crc32c"},
            ],
            "index_location": "end",
        }
        return array_json(
            (n_tiles, tile_px, tile_px, 3),
            np.dtype(np.uint8),
            chunk=(shard_tiles, tile_px, tile_px, 3),
            codecs=[{"name": "sharding_indexed", "configuration": sharding}],
        )


def _checked_id(slide_id: str) -> str:
    if not SLIDE_ID.fullmatch(slide_id) or slide_id in (".", "..", "zarr.json"):
        raise SlideError(
            f"a slide cannot be called {slide_id!r} in a store; rename its file, or give it an "
            "alias in slides.csv."
        )
    return slide_id


def _is_unfinished(folder: Path) -> bool:
    return all(entry.name in ("images", *PICTURES, *TABLE_ARRAYS) for entry in folder.iterdir())


def _noted(
    level0_xy_N2: npt.NDArray[np.int64],
    left_out_M3: npt.NDArray[np.int64] | None,
    rejected: list[tuple[int, int]],
) -> npt.NDArray[np.int64]:
    """Join the places that never became a tile and the tiles that were looked at and left out."""
    before_M3 = np.empty((0, 3), np.int64) if left_out_M3 is None else left_out_M3
    of_tiles = [[*level0_xy_N2[row].tolist(), reason] for row, reason in rejected]
    return np.concatenate([before_M3, np.array(of_tiles, np.int64).reshape(-1, 3)])


def check_same(
    path: Path,
    old: RootMeta,
    new: RootMeta,
    *,
    advice: str = "repeat that configuration, choose another --out, or add --overwrite",
) -> None:
    """Check that a store may go on with these settings.

    Raises:
        ConfigError: it was begun with others; names the differences.
    """
    changes = difference(_settings(old), _settings(new))
    if changes:
        raise ConfigError(
            f"store {str(path)!r} belongs to another tiling configuration ({'; '.join(changes)}); "
            f"{advice}."
        )


def _settings(meta: RootMeta) -> dict[str, Any]:
    return {
        **meta.model_dump(include={"classes", "mask_thresholds", "quality_names"}),
        **meta.tiling,
    }
