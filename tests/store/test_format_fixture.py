"""A store of this format version stays readable for ever."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from medsimclr.store.reader import TileStore
from medsimclr.store.verify import verify_store
from medsimclr.store.zarr_codec import register_jpeg_codec
from tests.store.format_fixture import CODECS, N_TILES, image

_FIXTURE = Path(__file__).parent / "format_2"


@pytest.fixture(params=CODECS)
def path(request, tmp_path):
    # A copy: git keeps no empty folders and no permissions worth relying on.
    return shutil.copytree(_FIXTURE / request.param, tmp_path / "s.zarr")


def test_every_value_of_the_old_store_is_read(path):
    store = TileStore(path)
    (slide,) = store.slides
    assert (store.meta.mpp, store.meta.classes) == (0.5, ["normal", "tumor"])
    assert store.meta.mask_thresholds == {"min_colour_od": 0.025}
    assert (slide.slide_id, slide.patient, slide.centre) == ("slide-1", "patient å", "A")
    assert (slide.mpp, slide.mpp_source, slide.reading) == (0.499, "slide", "decoded")
    assert store.table("level0_xy").tolist() == [[0, 8], [8, 8], [16, 8], [24, 8], [32, 8]]
    assert store.table("label").tolist() == [-1, 0, 1, -1, 0]
    assert store.table("tissue").tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert store.table("quality").tolist() == [[row + 0.5, 0.25, 0] for row in range(N_TILES)]
    assert store.table("coverage")[:, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]
    left_out_xy, reasons = store.slide_left_out(0)
    assert (left_out_xy.tolist(), reasons.tolist()) == ([[40, 8], [48, 8]], [0, 2])
    assert store.picture(0, "mask").tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert store.picture(0, "thumbnail").ravel().tolist() == list(range(24))


def test_every_tile_of_the_old_store_is_read_by_us_and_by_zarr(path):
    register_jpeg_codec()
    tiles = TileStore(path).read_tiles([0] * N_TILES, range(N_TILES)).astype(int)
    most = 6 if TileStore(path).meta.tiling["codec"] == "jpeg" else 0
    for row, tile in enumerate(tiles):
        assert np.abs(tile - image(row)).max() <= most
    by_zarr = zarr.open_group(path, mode="r")["slide-1/images"][...]
    np.testing.assert_array_equal(tiles, by_zarr)


def test_the_old_store_is_whole(path):
    found = verify_store(path)
    assert (found.n_slides, found.n_tiles, found.n_files) == (1, 5, 21)
    assert found.damages == []
