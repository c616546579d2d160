import numpy as np
import pytest
from PIL import Image

from medsimclr.config.tile import TileConfig
from medsimclr.errors import ConfigError, LabelError, NoInputError
from medsimclr.files.checksum import sha256_of_file
from medsimclr.store.reader import TileStore
from medsimclr.tiling.inputs import find_inputs
from tests.references.area_average import area_average_loops


@pytest.fixture
def folder(tmp_path):
    """Return the function that writes noise images and a labels.csv."""

    def write(table, sizes_xy):
        folder = tmp_path / "images"
        images = {}
        for seed, (name, (width, height)) in enumerate(sizes_xy.items()):
            generator = np.random.default_rng(seed)
            images[name] = generator.integers(0, 256, (height, width, 3), np.uint8)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[name]).save(folder / name)
        (folder / "labels.csv").write_text(table)
        return folder, images

    return write


_KEEP = {"mpp": None, "tile_px": 32}


def test_images_are_cut_into_their_own_pixels_with_label_and_slide(folder, run_tile, tmp_path):
    table = "image,label,patient,slide\nx/1.png,t,p,s2\nx/2.png,n,p,s2\n3.png,,q,s1\n"
    path, images = folder(table, {"x/1.png": (70, 40), "x/2.png": (32, 32), "3.png": (40, 70)})
    report = run_tile(path, **_KEEP)
    assert report.written == {"s1": 2, "s2": 3}
    store = TileStore(tmp_path / "s.zarr")
    assert store.meta.classes == ["n", "t"]
    assert [(s.slide_id, s.patient, s.images) for s in store.slides] == [
        ("s1", "q", [sha256_of_file(path / "3.png")]),
        ("s2", "p", [sha256_of_file(path / "x" / name) for name in ("1.png", "2.png")]),
    ]
    assert store.table("label").tolist() == [-1, -1, 1, 1, 0]
    assert store.table("image_index").tolist() == [0, 0, 0, 0, 1]
    assert store.table("level0_xy").tolist() == [[0, 0], [0, 32], [0, 0], [32, 0], [0, 0]]
    tiles = store.read_tiles([1, 1, 1], [0, 1, 2])
    np.testing.assert_array_equal(tiles[1], images["x/1.png"][:32, 32:64])
    np.testing.assert_array_equal(tiles[2], images["x/2.png"])


def test_images_of_a_scale_are_resampled_by_area(folder, run_tile, tmp_path):
    path, images = folder(
        "image,label,mpp\na.png,n,0.25\nb.png,t,0.5\n", {"a.png": (128, 64), "b.png": (32, 32)}
    )
    run_tile(path, mpp=0.5, tile_px=32)
    store = TileStore(tmp_path / "s.zarr")
    assert [s.n_tiles for s in store.slides] == [2, 1]
    tiles = store.read_tiles([0, 1], [1, 0])
    expected = area_average_loops(images["a.png"][:64, 64:], (32, 32))
    assert np.abs(tiles[0] - expected).max() <= 1
    np.testing.assert_array_equal(tiles[1], images["b.png"])


@pytest.mark.parametrize(
    ("mpps", "resampling", "tile_mpp"),
    [
        ((0.5, 0.5), "none", 0.5),
        ((0.52, 0.52), "linear", 0.5),
        ((0.5, 0.52), "linear", 0.5),
        ((0.25, 0.52), "area", 0.5),
        # Within 0.5 % of the scale asked pixels are kept, and so is their scale.
        ((0.501, 0.5), "none", None),
    ],
)
def test_the_slide_says_how_its_images_became_tiles(
    folder, run_tile, tmp_path, mpps, resampling, tile_mpp
):
    path, _ = folder(
        f"image,slide,mpp\na.png,s,{mpps[0]}\nb.png,s,{mpps[1]}\n",
        {"a.png": (64, 64), "b.png": (64, 64)},
    )
    run_tile(path, mpp=0.5, tile_px=32)
    (slide,) = TileStore(tmp_path / "s.zarr").slides
    assert (slide.resampling, slide.reading) == (resampling, "region")
    assert slide.tile_mpp == (None if tile_mpp is None else pytest.approx(tile_mpp))
    assert slide.level == 0
    assert slide.mpp == (mpps[0] if mpps[0] == mpps[1] else None)


def test_the_grid_of_an_image_of_several_levels_ends_with_the_image(
    run_tile, write_slide, tmp_path
):
    (tmp_path / "images").mkdir()
    write_slide(tmp_path / "images" / "a.tiff", mpp=0.5, size_xy=(1200, 1000))
    (tmp_path / "images" / "labels.csv").write_text("image,slide,mpp\na.tiff,s,0.5\n")
    report = run_tile(tmp_path / "images", mpp=1.0, tile_px=64)
    assert report.written == {"s": (600 // 64) * (500 // 64)}
    (slide,) = TileStore(tmp_path / "s.zarr").slides
    assert (slide.level, slide.level_mpp, slide.resampling) == (1, 1.0, "none")


def test_images_without_scale_record_none(folder, run_tile, tmp_path):
    path, _ = folder("image\na.png\n", {"a.png": (32, 32)})
    run_tile(path, **_KEEP)
    (slide,) = TileStore(tmp_path / "s.zarr").slides
    assert (slide.tile_mpp, slide.level_mpp, slide.resampling) == (None, None, "none")


def test_images_are_read_by_the_reader_asked(folder, run_tile):
    path, _ = folder("image\na.png\n", {"a.png": (32, 32)})
    with pytest.raises(NoInputError, match=r"'a\.png' is no slide .*OpenSlide knows no such"):
        run_tile(path, **_KEEP, reader="openslide")


def test_images_out_of_focus_are_left_out(folder, run_tile, tmp_path):
    path, _ = folder("image,slide\na.png,s\nb.png,s\n", {"a.png": (64, 32), "b.png": (32, 32)})
    Image.new("RGB", (64, 32), "red").save(path / "a.png")
    assert run_tile(path, **_KEEP, min_focus=1).written == {"s": 1}
    store = TileStore(tmp_path / "s.zarr")
    assert store.table("image_index").tolist() == [1]
    assert store.slide_left_out(0)[1].tolist() == [3, 3]
    with pytest.raises(ConfigError, match=r"--max-ink must stay 1 for folders with labels\.csv"):
        run_tile(path, **_KEEP, max_ink=0.5)


def test_an_image_that_takes_too_much_memory_is_refused_alone(folder, run_tile):
    path, _ = folder("image\na.png\nbomb.png\n", {"a.png": (32, 32), "bomb.png": (1, 1)})
    Image.new("L", (13_000, 13_000)).save(path / "bomb.png")
    report = run_tile(path, **_KEEP, slide_memory_mb=256)
    assert report.written == {"a.png": 1}
    assert "more than the 256 MB of memory" in report.failed["bomb.png"]


def test_every_image_of_a_group_is_a_sign_of_life(folder, tmp_path):
    sizes = {f"{index}.png": (32, 32) for index in range(5)}
    path, _ = folder("image,slide\n" + "".join(f"{name},s\n" for name in sizes), sizes)
    config = TileConfig(inputs=[path], out=tmp_path / "s.zarr", tile_px=32)
    (group,) = find_inputs(config).sources
    signs = []
    tiles = group.open(lambda: signs.append("grid")).tiles
    assert signs == ["grid"] * 5
    assert len(list(tiles)) == 5
    assert len(signs) == 10


@pytest.mark.parametrize(
    ("table", "first", "second"),
    [
        ("image,slide\na.png,S1\nb.png,s1\n", "S1", "s1"),
        ("image\na.png\nA.png\n", "A.png", "a.png"),
    ],
)
def test_slides_whose_names_differ_by_case_only_are_refused(folder, run_tile, table, first, second):
    path, _ = folder(table, {"a.png": (32, 32), "b.png": (32, 32), "A.png": (32, 32)})
    with pytest.raises(
        ConfigError, match=rf"differ by more than case, got '{first}' and '{second}"
    ):
        run_tile(path, **_KEEP)


def test_images_of_one_name_in_two_folders_stay_apart(folder, run_tile, tmp_path):
    path, images = folder("image\nx/1.png\ny/1.png\n", {"x/1.png": (32, 32), "y/1.png": (32, 32)})
    run_tile(path, **_KEEP)
    store = TileStore(tmp_path / "s.zarr")
    assert [slide.slide_id for slide in store.slides] == ["x_1.png", "y_1.png"]
    for slide, name in enumerate(images):
        np.testing.assert_array_equal(store.read_tiles([slide], [0])[0], images[name])


def test_a_chosen_column_groups_the_images(folder, run_tile, tmp_path):
    table = "image,slide,block\na.png,s1,k\nb.png,s2,k\n"
    path, _ = folder(table, {"a.png": (32, 32), "b.png": (32, 32)})
    assert run_tile(path, **_KEEP, slide_column="block").written == {"k": 2}
    with pytest.raises(ConfigError, match=r"slide_column: 'block' -> None"):
        run_tile(path, **_KEEP)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,label\na.png,n\na.png,t\n", r"line 3: image 'a\.png' is already in line 2"),
        ("image,label\nb.png,n\n", r"line 2: image 'b\.png' must be a file beside the table"),
        ("label\nn\n", r"must have the column 'image'"),
        (
            "image,slide,patient\na.png,s,p\nc.png,s,q\n",
            r"one slide must have one patient, got 'p', 'q'",
        ),
        (
            "image,slide,centre\na.png,s,x\nc.png,s,\n",
            r"one slide must have one centre, got 'x', None",
        ),
        (
            "image,slide\na.png,s 1\nc.png,s_1\n",
            r"line 3: 's 1' and 's_1' would both be slide 's_1'",
        ),
        ("image,mpp\na.png,fine\n", r"line 2: mpp must be a number .*got 'fine'"),
        ("image,mpp\na.png,nan\n", r"line 2: mpp must be a number .*got 'nan'"),
        ("image,mpp\na.png,0\n", r"line 2: mpp must be a number .*got '0'"),
        ("image,mpp\na.png,-0.5\n", r"line 2: mpp must be a number .*got '-0\.5'"),
    ],
)
def test_a_wrong_labels_csv_is_refused_with_its_line(folder, run_tile, tmp_path, table, message):
    path, _ = folder(table, {"a.png": (32, 32), "c.png": (32, 32)})
    with pytest.raises(LabelError, match=message):
        run_tile(path, **_KEEP)
    assert not (tmp_path / "s.zarr").exists()


def test_a_scale_asked_of_images_without_one_is_refused(folder, run_tile):
    path, _ = folder("image\na.png\n", {"a.png": (64, 64)})
    with pytest.raises(NoInputError, match=r"image 'a\.png' must have a scale to be cut at 0\.5"):
        run_tile(path, mpp=0.5, tile_px=32)


def test_images_smaller_than_a_tile_are_reported(folder, run_tile):
    path, _ = folder("image\na.png\nb.png\n", {"a.png": (31, 64), "b.png": (64, 64)})
    report = run_tile(path, **_KEEP)
    assert report.written == {"b.png": 4}
    assert report.failed == {
        "a.png": "slide 'a.png' gives no tile: its images are smaller than 32 px."
    }


def test_a_changed_label_is_refused(folder, run_tile):
    path, _ = folder("image,label\na.png,n\nb.png,t\n", {"a.png": (32, 32), "b.png": (32, 32)})
    run_tile(path, **_KEEP)
    assert run_tile(path, **_KEEP).kept == {"a.png": 1, "b.png": 1}
    (path / "labels.csv").write_text("image,label\na.png,t\nb.png,n\n")
    with pytest.raises(ConfigError, match=r"slide 'a\.png' .*was tiled from another file"):
        run_tile(path, **_KEEP)
