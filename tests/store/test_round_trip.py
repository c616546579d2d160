import os
import socket
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from medsimclr.errors import ConfigError, NoInputError
from medsimclr.store.reader import TileStore
from medsimclr.store.writer import StoreWriter
from medsimclr.store.zarr_codec import register_jpeg_codec

register_jpeg_codec()
SHARD_TILES = 256
_CODECS = ["jpeg", "zstd", "raw"]
_N_TILES = 2 * SHARD_TILES + 5


@pytest.fixture(scope="module", params=_CODECS)
def big(request, tmp_path_factory, write_store, noise):
    """A slide of three shards and one of a single tile, with the pixels that went in."""
    images = {"one": noise(1, 16, seed=1), "three": noise(_N_TILES, 16)}
    path = tmp_path_factory.mktemp(request.param) / "s.zarr"
    write_store(path, images, codec=request.param)
    return request.param, path, images


@pytest.fixture(scope="module")
def by_zarr(big):
    """What zarr-python reads of the slide of three shards."""
    return zarr.open_array(big[1] / "three" / "images", mode="r")[...]


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.integers(0, _N_TILES - 1)
        | st.sampled_from([0, SHARD_TILES - 1, SHARD_TILES, 2 * SHARD_TILES, _N_TILES - 1]),
        max_size=12,
    )
)
def test_any_tiles_equal_those_that_zarr_reads_byte_for_byte(big, by_zarr, rows):
    _, path, _ = big
    tiles = TileStore(path).read_tiles([1] * len(rows), rows)
    assert tiles.dtype == np.uint8
    np.testing.assert_array_equal(tiles, by_zarr[rows])


def test_tiles_are_those_that_were_written(big):
    codec, path, images = big
    tiles = TileStore(path).read_tiles([1] * _N_TILES, range(_N_TILES))
    if codec == "jpeg":
        error = np.abs(tiles.astype(int) - images["three"].astype(int))
        assert error.mean() < 3.5
        assert error.max() < 32
    else:
        np.testing.assert_array_equal(tiles, images["three"])


def test_tiles_of_several_slides_come_in_the_order_asked(big):
    _, path, _ = big
    store = TileStore(path)
    mixed = store.read_tiles([1, 0, 1], [300, 0, 2])
    for tile, slide, row in zip(mixed, [1, 0, 1], [300, 0, 2], strict=True):
        np.testing.assert_array_equal(tile, store.read_tiles([slide], [row])[0])


def test_tables_equal_those_that_zarr_reads_and_join_in_slide_order(big):
    _, path, _ = big
    store = TileStore(path)
    for name in ("level0_xy", "tissue", "label", "quality", "coverage"):
        arrays = [zarr.open_array(path / slide / name, mode="r")[...] for slide in ("one", "three")]
        np.testing.assert_array_equal(store.table(name), np.concatenate(arrays))
        assert store.table(name).dtype == arrays[0].dtype


def test_many_shards_are_read_with_few_files_open(tmp_path, write_store, noise, monkeypatch):
    monkeypatch.setattr("medsimclr.store.reader._OPEN_SHARDS", 2)
    images = {f"s{i}": noise(2, 8, seed=i) for i in range(5)}
    store = TileStore(write_store(tmp_path / "s.zarr", images))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(2):
        for i in range(5):
            np.testing.assert_array_equal(store.read_tiles([i], [1])[0], images[f"s{i}"][1])
    assert len(os.listdir("/proc/self/fd")) <= before + 2  # noqa: PTH208


def test_threads_give_the_same_tiles_in_the_same_order(big, monkeypatch):
    monkeypatch.setattr("medsimclr.store.reader._OPEN_SHARDS", 2)
    _, path, _ = big
    rows = np.random.default_rng(0).integers(0, _N_TILES, 64).tolist()
    slides = [1] * len(rows)
    one = TileStore(path).read_tiles(slides, rows)
    np.testing.assert_array_equal(TileStore(path, n_threads=3).read_tiles(slides, rows), one)


def test_a_store_that_is_dropped_leaves_no_file_open(tmp_path, write_store, noise):
    path = write_store(tmp_path / "s.zarr", {"s": noise(2, 8)})
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(5):
        TileStore(path).read_tiles([0], [0])
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize("codec", _CODECS)
def test_black_tiles_and_tables_of_zeros_or_none_have_their_chunks(tmp_path, write_store, codec):
    black = np.zeros((3, 8, 8, 3), np.uint8)
    for name, label in (("none", -1), ("first", 0)):
        path = write_store(
            tmp_path / f"{name}.zarr",
            {"s": black},
            codec=codec,
            labels=np.full(3, label),
            pictures={"mask": np.zeros((5, 6), np.uint8)},
        )
        for array in ("images/c/0/0/0/0", "label/c/0", "coverage/c/0/0", "mask/c/0/0"):
            assert (path / "s" / array).is_file(), array
        store = TileStore(path)
        assert store.table("label").tolist() == [label] * 3
        assert store.table("coverage").tolist() == [[0, 0]] * 3
        assert store.read_tiles([0, 0, 0], [0, 1, 2]).max() == 0
        assert store.picture(0, "mask").max() == 0


def test_a_slide_of_one_tile_at_the_origin_is_read(tmp_path, write_store, noise):
    path = write_store(tmp_path / "s.zarr", {"s": noise(1, 8)})
    assert TileStore(path).table("level0_xy").tolist() == [[0, 0]]


def test_pictures_are_those_that_were_written(tmp_path, write_store, noise):
    generator = np.random.default_rng(0)
    pictures = {
        "mask": generator.integers(0, 2, (30, 20), np.uint8),
        "thumbnail": generator.integers(0, 256, (30, 20, 3), np.uint8),
    }
    store = TileStore(write_store(tmp_path / "s.zarr", {"s": noise(2, 8)}, pictures=pictures))
    for name, image in pictures.items():
        np.testing.assert_array_equal(store.picture(0, name), image)


@pytest.mark.parametrize("codec", _CODECS)
def test_two_runs_write_the_same_bytes(tmp_path, write_store, noise, codec):
    images = {"b": noise(300, 8), "a": noise(3, 8, seed=1)}
    first, second = tmp_path / "x" / "s.zarr", tmp_path / "other place" / "t.zarr"
    for path in (first, second):
        path.parent.mkdir()
        write_store(path, images, codec=codec, pictures={"mask": np.ones((4, 4), np.uint8)})
    assert _files(first) == _files(second)


def test_no_metadata_names_a_path_a_host_a_user_or_a_time(tmp_path, write_store, noise):
    path = write_store(tmp_path / "s.zarr", {"s": noise(2, 8)})
    text = "\n".join(file.read_text() for file in path.rglob("zarr.json"))
    for secret in (str(tmp_path), socket.gethostname(), Path.home().name, ":\\\\"):
        assert f'"{secret}' not in text
        assert f"{secret}/" not in text
    for word in ("time", "date", "host", "user", "created"):
        assert word not in text.lower()


def test_another_configuration_is_refused_with_the_difference(
    tmp_path, write_store, noise, root_meta
):
    path = write_store(tmp_path / "s.zarr", {"s": noise(2, 8)}, min_tissue=0.5)
    before = _files(path)
    with pytest.raises(
        ConfigError,
        match=r"another tiling configuration \(classes: \['a', 'b'\] -> \['c'\]; "
        r"codec: 'zstd' -> 'raw'; min_tissue: 0\.5 -> 0\.6\); repeat that",
    ):
        StoreWriter(path, root_meta(codec="raw", classes=["c"], min_tissue=0.6))
    StoreWriter(path, root_meta(min_tissue=0.5))
    assert _files(path) == before


def test_a_folder_with_other_files_is_refused_untouched(tmp_path, root_meta):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="must be new, empty or a tile store"):
        StoreWriter(tmp_path, root_meta())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_slide_without_its_commit_is_not_there_and_is_swept(
    tmp_path, write_store, noise, root_meta
):
    path = write_store(tmp_path / "s.zarr", {"a": noise(2, 8), "b": noise(2, 8, seed=1)})
    (path / "b" / "zarr.json").rename(path / "b" / "zarr.json.partial")
    assert [slide.slide_id for slide in TileStore(path).slides] == ["a"]
    writer = StoreWriter(path, root_meta())
    assert list(writer.committed()) == ["a"]
    writer.sweep()
    assert sorted(entry.name for entry in path.iterdir()) == ["a", "zarr.json"]


def test_a_store_without_a_committed_slide_is_no_input(tmp_path, root_meta):
    with pytest.raises(NoInputError, match=r"must be a tile store, got no zarr\.json"):
        TileStore(tmp_path)
    StoreWriter(tmp_path, root_meta())
    with pytest.raises(NoInputError, match="at least one committed slide, got none"):
        TileStore(tmp_path)


def _files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
