import numpy as np
import pytest

from medsimclr.errors import ConfigError, NoInputError
from medsimclr.store.reader import TileStore
from medsimclr.tiling.cifar10 import CIFAR10_CLASSES

_ROW = 3073


@pytest.fixture
def rows():
    """Twelve synthetic rows: label byte, then red, green and blue planes, row-major."""
    rows = np.random.default_rng(0).integers(0, 256, (12, _ROW), np.uint8)
    rows[:, 0] = np.arange(12) % 10
    return rows


def _pixel(row, x, y):
    return [int(row[1 + 1024 * channel + 32 * y + x]) for channel in range(3)]


def test_images_and_labels_are_those_of_the_binary_format(tmp_path, rows, run_tile):
    (tmp_path / "test_batch.bin").write_bytes(rows.tobytes())
    report = run_tile(tmp_path, mpp=None, tile_px=32)
    assert report.written == {"test_batch": 12}
    store = TileStore(tmp_path / "s.zarr")
    tiles = store.read_tiles([0] * 12, range(12))
    for index, x, y in [(0, 0, 0), (3, 31, 0), (7, 5, 30), (11, 31, 31)]:
        assert tiles[index, y, x].tolist() == _pixel(rows[index], x, y)
    assert store.table("label").tolist() == rows[:, 0].tolist()
    assert store.meta.classes == list(CIFAR10_CLASSES)
    assert store.meta.mpp is None
    assert store.slides[0].unit == "tile"


def test_batches_of_a_folder_are_slides_of_their_own(tmp_path, rows, run_tile):
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        (tmp_path / f"{name}.bin").write_bytes(rows.tobytes())
    (tmp_path / "batches.meta.txt").write_text("airplane\n")
    report = run_tile(tmp_path, mpp=None, tile_px=32)
    assert list(report.written) == ["data_batch_1", "data_batch_2", "test_batch"]


def test_a_file_of_a_strange_name_has_a_name_that_a_store_can_hold(tmp_path, rows, run_tile):
    (tmp_path / "my batch (1).bin").write_bytes(rows.tobytes())
    report = run_tile(tmp_path / "my batch (1).bin", mpp=None, tile_px=32)
    assert report.written == {"my_batch__1_": 12}


def test_images_out_of_focus_are_left_out(tmp_path, rows, run_tile):
    rows[3:6, 1:] = 90
    (tmp_path / "test_batch.bin").write_bytes(rows.tobytes())
    assert run_tile(tmp_path, mpp=None, tile_px=32, min_focus=1).written == {"test_batch": 9}
    store = TileStore(tmp_path / "s.zarr")
    assert store.table("label").tolist() == [0, 1, 2, 6, 7, 8, 9, 0, 1]
    assert store.slide_left_out(0)[1].tolist() == [3, 3, 3]


@pytest.mark.parametrize("name", ["max_ink", "max_blank"])
def test_a_limit_that_needs_an_overview_is_refused(tmp_path, rows, run_tile, name):
    (tmp_path / "test_batch.bin").write_bytes(rows.tobytes())
    flag = f"--{name.replace('_', '-')}"
    with pytest.raises(ConfigError, match=rf"{flag} must stay 1 .*got 0\.5: it is measured on the"):
        run_tile(tmp_path, mpp=None, tile_px=32, **{name: 0.5})


@pytest.mark.parametrize(
    ("change", "tile_px", "message"),
    [
        (lambda content: content, 64, r"holds images of 32 px, got --tile-px 64"),
        (lambda content: content[:-1], 32, r"must be rows of 3073 bytes, got 36875 bytes"),
        (lambda _: b"", 32, r"must be rows of 3073 bytes, got 0 bytes"),
        (lambda content: b"\x0a" + content[1:], 32, r"must have labels 0 to 9, got 10"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, rows, run_tile, change, tile_px, message):
    (tmp_path / "test_batch.bin").write_bytes(change(rows.tobytes()))
    with pytest.raises(NoInputError, match=rf"test_batch\.bin' {message}"):
        run_tile(tmp_path / "test_batch.bin", mpp=None, tile_px=tile_px)


def test_the_head_of_the_real_test_batch_is_read(shared_data, tmp_path, run_tile):
    source = shared_data / "natural" / "cifar-10-batches-bin"
    with (source / "test_batch.bin").open("rb") as file:
        content = file.read(20 * _ROW)
    (tmp_path / "test_batch.bin").write_bytes(content)
    run_tile(tmp_path / "test_batch.bin", mpp=None, tile_px=32)
    store = TileStore(tmp_path / "s.zarr")
    rows = np.frombuffer(content, np.uint8).reshape(20, _ROW)
    tiles = store.read_tiles([0] * 20, range(20))
    np.testing.assert_array_equal(tiles.transpose(0, 3, 1, 2).reshape(20, -1), rows[:, 1:])
    assert store.table("label").tolist() == rows[:, 0].tolist()
    named = (source / "batches.meta.txt").read_text().split()
    assert named == list(CIFAR10_CLASSES)
