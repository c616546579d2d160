"""Our shards are zarr-python's: written byte for byte, and read byte for byte."""

import shutil

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from medsimclr.store.reader import TileStore
from medsimclr.store.zarr_codec import register_jpeg_codec

register_jpeg_codec()
_CODECS = ["jpeg", "zstd", "raw"]
_SHARD_TILES = [1, 2, 5, 16, 300]
_N_TILES = 23


@pytest.fixture(scope="module")
def stores(tmp_path_factory, write_store, noise):
    """A store for every codec and shard size, with what zarr reads of it."""
    folder = tmp_path_factory.mktemp("stores")
    found = {}
    for codec in _CODECS:
        for shard_tiles in _SHARD_TILES:
            path = folder / f"{codec}{shard_tiles}.zarr"
            write_store(path, {"s": noise(_N_TILES, 16)}, codec=codec, shard_tiles=shard_tiles)
            array = zarr.open_array(path / "s" / "images", mode="r")
            found[codec, shard_tiles] = TileStore(path), array
    return found


@settings(max_examples=300, deadline=None)
@given(
    codec=st.sampled_from(_CODECS),
    shard_tiles=st.sampled_from(_SHARD_TILES),
    rows=st.lists(st.integers(0, _N_TILES - 1), max_size=8),
)
def test_any_rows_equal_those_that_zarr_reads(stores, codec, shard_tiles, rows):
    store, array = stores[codec, shard_tiles]
    expected = np.stack([array[row] for row in rows]) if rows else np.empty((0, 16, 16, 3))
    np.testing.assert_array_equal(store.read_tiles([0] * len(rows), rows), expected)


@settings(max_examples=40, deadline=None)
@given(
    codec=st.sampled_from(_CODECS),
    shard_tiles=st.integers(1, 40),
    n_tiles=st.integers(1, 45),
    seed=st.integers(0, 99),
)
def test_our_writer_writes_the_bytes_of_zarr(
    tmp_path_factory, write_store, noise, codec, shard_tiles, n_tiles, seed
):
    folder = tmp_path_factory.mktemp("pair")
    images_NHW3 = noise(n_tiles, 8, seed=seed)
    ours = write_store(folder / "s", {"s": images_NHW3}, codec=codec, shard_tiles=shard_tiles)
    for name in ("images", "label", "level0_xy"):
        theirs = folder / name
        theirs.mkdir()
        shutil.copy(ours / "s" / name / "zarr.json", theirs)
        values = images_NHW3 if name == "images" else TileStore(ours).table(name)
        array = zarr.open_array(theirs, mode="r+").with_config({"write_empty_chunks": True})
        array[...] = values
        assert _chunks(ours / "s" / name) == _chunks(theirs), name
    shutil.rmtree(folder)


def _chunks(array):
    return {
        path.relative_to(array).as_posix(): path.read_bytes()
        for path in (array / "c").rglob("*")
        if path.is_file()
    }
