import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from medsimclr.errors import ConfigError, OutputError
from medsimclr.files.checksum import sha256_of_value
from medsimclr.report import slide_preview
from medsimclr.report.slide_preview import draw_preview, draw_previews, find_slide
from medsimclr.store.reader import TileStore
from medsimclr.store.schema import LEFT_OUT_REASONS, RootMeta
from medsimclr.store.writer import StoreWriter, Tile
from tests.cli.command import medsimclr
from tests.tiny_store import write_tiny_store

_SLIDE_FACTS = (
    "patient", "centre", "mpp", "mpp_source", "dimensions_level0_xy", "tile_level0_px", "level",
    "level_mpp", "resampling",
)  # fmt: skip


def write_images_store(path):
    """A store of one set of images, which has no overview."""
    path.mkdir()
    tiling = {"codec": "zstd", "jpeg_quality": 95}
    writer = StoreWriter(
        path,
        RootMeta(
            schema=2,
            tile_px=8,
            shard_tiles=256,
            mpp=0.5,
            classes=[],
            quality_names=["focus"],
            tiling=tiling,
            tiling_sha256=sha256_of_value(tiling),
        ),
    )
    writer.write_slide(
        facts={"slide_id": "images", "vendor": "images", "source": {"sha256": "0" * 64}}
        | dict.fromkeys(_SLIDE_FACTS),
        tables={
            "level0_xy": np.zeros((1, 2), np.int64),
            "tissue": np.ones(1),
            "label": np.array([-1]),
        },
        pictures={},
        tiles=[Tile(0, np.zeros((8, 8, 3), np.uint8), (0.0,))],
    )
    return TileStore(path)


def test_previews_show_every_slide_with_an_overview(tmp_path):
    store = TileStore(write_tiny_store(tmp_path / "tiles.zarr", n_patients=3))
    drawn = draw_previews(store, tmp_path / "new" / "previews")
    assert [path.name for path in drawn] == ["slide_0.png", "slide_1.png", "slide_2.png"]
    for path in drawn:
        with Image.open(path) as picture:
            assert min(picture.size) > 200


def test_previews_show_only_the_slides_asked(tmp_path):
    store = TileStore(write_tiny_store(tmp_path / "tiles.zarr", n_patients=3))
    (drawn,) = draw_previews(store, tmp_path / "previews", only={"slide_1", "not_there"})
    assert drawn == tmp_path / "previews" / "slide_1.png"
    assert list((tmp_path / "previews").iterdir()) == [drawn]


def test_tile_draws_the_slides_of_its_run_and_no_others(shared_data, tmp_path):
    slide = shared_data / "slides" / "cmu_small_region.svs"
    for name, words in (("a", []), ("b", ["--preview", "pictures"])):
        # A byte behind the slide makes it another one.
        (tmp_path / f"{name}.svs").write_bytes(slide.read_bytes() + name.encode())
        result = medsimclr(
            *["tile", f"{name}.svs", "--out", "s.zarr", "--mpp", 0.5, *words], cwd=tmp_path
        )
        assert result.returncode == 0, result.stderr
    assert "1 pictures in pictures" in result.stdout
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["b.png"]


def test_a_set_of_images_has_no_preview(tmp_path):
    store = write_images_store(tmp_path / "tiles.zarr")
    assert draw_previews(store, tmp_path / "previews") == []
    with pytest.raises(ConfigError, match="'images' is a set of images and has no overview"):
        draw_preview(store, "images", tmp_path / "preview.png")


def test_unknown_slide_is_refused_with_the_known_ones(tmp_path):
    store = TileStore(write_tiny_store(tmp_path / "tiles.zarr", n_patients=2))
    with pytest.raises(ConfigError, match="unknown slide 'x'; the store has slide_0, slide_1"):
        find_slide(store, "x")


def test_previews_that_cannot_be_written_are_an_output_error(tmp_path):
    store = TileStore(write_tiny_store(tmp_path / "tiles.zarr", n_patients=1))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/slide_0\.png"):
        draw_previews(store, tmp_path / "file")


def test_every_reason_of_the_store_reaches_the_picture(tmp_path, monkeypatch):
    store = TileStore(write_tiny_store(tmp_path / "tiles.zarr", n_patients=1))
    xy_M2, reason_M = np.arange(8).reshape(4, 2), np.arange(4)
    monkeypatch.setattr(store, "slide_left_out", lambda slide_index: (xy_M2, reason_M))
    seen = {}

    def record(thumbnail_HW3, **arguments):
        seen.update(arguments)
        return real(thumbnail_HW3, **arguments)

    real = slide_preview.preview_figure
    monkeypatch.setattr(slide_preview, "preview_figure", record)
    draw_preview(store, "slide_0", tmp_path / "preview.png")
    assert seen["reason_names"] == ["no tissue", "ink", "blank", "out of focus"]
    assert len(seen["reason_names"]) == len(LEFT_OUT_REASONS)
    np.testing.assert_array_equal(seen["left_out_level0_xy_M2"], xy_M2)
    np.testing.assert_array_equal(seen["left_out_reason_M"], reason_M)


def test_previews_need_no_torch():
    check = "import sys, medsimclr.report.slide_preview; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
