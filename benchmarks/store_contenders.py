"""Who reads random batches in `store.py`: our store, zarr-python, plain decoding, three rivals.

All JPEG contenders hold the very streams of our jpeg store and decode them with the decoder that
the store uses, each into the batch, so that they differ in finding and fetching alone.
"""

import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import h5py
import lmdb
import numpy as np
import numpy.typing as npt
import webdataset
import zarr

from medsimclr.store.jpeg import decode_jpeg
from medsimclr.store.reader import TileStore
from medsimclr.store.zarr_codec import register_jpeg_codec

__all__ = [
    "ReadBatch", "decoding", "hdf5", "jpeg_streams", "lmdb_rows", "ours", "web_dataset", "zarr_loop"
]  # fmt: skip

Batch = npt.NDArray[np.uint8]
ReadBatch = Callable[[Sequence[int], Sequence[int]], Batch]
"""Tiles by slide indices and rows, as `TileStore.read_tiles`."""
Streams = list[list[bytes]]
"""JPEG streams by slide index and row."""

_CRC_BYTES = 4
_TAR_TILES = 500
_SHUFFLE_BUFFER = 1000


def ours(path: Path, *, n_threads: int = 1) -> ReadBatch:
    """Our reader, its shards opened once."""
    return TileStore(path, n_threads=n_threads).read_tiles


def zarr_loop(path: Path) -> ReadBatch:
    """zarr-python, `array[row]` for each tile, its arrays opened once."""
    register_jpeg_codec()
    store = TileStore(path)
    arrays = [zarr.open_array(path / slide.slide_id / "images", mode="r") for slide in store.slides]

    def read(slide_indices: Sequence[int], rows: Sequence[int]) -> Batch:
        batch = _empty(len(rows), store.meta.tile_px)
        for out_HW3, slide_index, row in zip(batch, slide_indices, rows, strict=True):
            out_HW3[...] = arrays[slide_index][row]
        return batch

    return read


def jpeg_streams(path: Path) -> Streams:
    """Read the JPEG stream of every tile of a jpeg store, without their checksums."""
    store = TileStore(path)
    streams: Streams = []
    for slide in store.slides:
        n_shards = -(-slide.n_tiles // store.meta.shard_tiles)
        folder = path / slide.slide_id / "images" / "c"
        of_slide: list[bytes] = []
        for shard in range(n_shards):
            content = (folder / f"{shard}/0/0/0").read_bytes()
            index_bytes = 16 * store.meta.shard_tiles
            index = np.frombuffer(content[-_CRC_BYTES - index_bytes : -_CRC_BYTES], "<u8")
            for offset, length in index.reshape(-1, 2).tolist():
                if offset < len(content):  # else: the last shard is not full
                    of_slide.append(content[offset : offset + length - _CRC_BYTES])
        assert len(of_slide) == slide.n_tiles, (slide.slide_id, len(of_slide))
        streams.append(of_slide)
    return streams


def decoding(streams: Streams, tile_px: int) -> ReadBatch:
    """Decode streams that lie in memory: the limit of every JPEG reader."""

    def read(slide_indices: Sequence[int], rows: Sequence[int]) -> Batch:
        wanted = (streams[index][row] for index, row in zip(slide_indices, rows, strict=True))
        return _decoded(wanted, len(rows), tile_px)

    return read


def hdf5(streams: Streams, tile_px: int, path: Path) -> ReadBatch:
    """One HDF5 data set of variable-length JPEG streams."""
    keys, flat = _flat(streams)
    with h5py.File(path, "w") as file:
        kind = h5py.vlen_dtype(np.dtype(np.uint8))
        dataset = file.create_dataset("tiles", shape=(len(flat),), dtype=kind)
        for row, stream in enumerate(flat):
            dataset[row] = np.frombuffer(stream, np.uint8)
    tiles = h5py.File(path, "r")["tiles"]

    def read(slide_indices: Sequence[int], rows: Sequence[int]) -> Batch:
        wanted = (tiles[keys[key]].data for key in zip(slide_indices, rows, strict=True))
        return _decoded(wanted, len(rows), tile_px)

    return read


def lmdb_rows(streams: Streams, tile_px: int, path: Path) -> ReadBatch:
    """One LMDB value for each JPEG stream, read in one transaction for a batch."""
    keys, flat = _flat(streams)
    size = 2 * sum(map(len, flat)) + (64 << 20)
    with lmdb.open(str(path), map_size=size) as writing, writing.begin(write=True) as transaction:
        for row, stream in enumerate(flat):
            transaction.put(str(row).encode(), stream)
    # As LMDB's users set it for training.
    environment = lmdb.open(str(path), readonly=True, lock=False, readahead=False, meminit=False)

    def read(slide_indices: Sequence[int], rows: Sequence[int]) -> Batch:
        with environment.begin() as transaction:
            wanted = (
                transaction.get(str(keys[key]).encode())
                for key in zip(slide_indices, rows, strict=True)
            )
            return _decoded(wanted, len(rows), tile_px)

    return read


def web_dataset(streams: Streams, tile_px: int, folder: Path) -> ReadBatch:
    """Tar shards through WebDataset with a shuffle buffer: a stream, whatever rows are asked."""
    _, flat = _flat(streams)
    folder.mkdir()
    shards = []
    for start in range(0, len(flat), _TAR_TILES):
        shards.append(str(folder / f"{start:08}.tar"))
        with tarfile.open(shards[-1], "w") as tar:
            for row, stream in enumerate(flat[start : start + _TAR_TILES], start):
                member = tarfile.TarInfo(f"{row:08}.jpg")
                member.size = len(stream)
                tar.addfile(member, io.BytesIO(stream))
    dataset = webdataset.WebDataset(shards, shardshuffle=len(shards), seed=0)
    stream_of_samples = iter(dataset.repeat().shuffle(_SHUFFLE_BUFFER))

    def read(slide_indices: Sequence[int], rows: Sequence[int]) -> Batch:
        wanted = (next(stream_of_samples)["jpg"] for _ in rows)
        return _decoded(wanted, len(rows), tile_px)

    return read


def _decoded(wanted: Iterator[bytes], n_tiles: int, tile_px: int) -> Batch:
    batch = _empty(n_tiles, tile_px)
    for out_HW3, stream in zip(batch, wanted, strict=True):
        decode_jpeg(stream, out=out_HW3)
    return batch


def _empty(n_tiles: int, tile_px: int) -> Batch:
    return np.empty((n_tiles, tile_px, tile_px, 3), np.uint8)


def _flat(streams: Streams) -> tuple[dict[tuple[int, int], int], list[bytes]]:
    """Return the place of (slide index, row) in the list of all streams, and the list."""
    pairs = [(index, row) for index, one in enumerate(streams) for row in range(len(one))]
    return {pair: place for place, pair in enumerate(pairs)}, [s for one in streams for s in one]
