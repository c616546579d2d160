"""Pixels of tiles against OpenSlide and against exact slides: a shift of one pixel fails here."""

import imagecodecs
import numpy as np
import pytest
import tifffile

from medsimclr.slides.jpeg_levels import find_jpeg_levels
from medsimclr.slides.opening import open_slide
from medsimclr.slides.scale import Scale
from medsimclr.tiling.cut import Cut
from medsimclr.tiling.grid import grid_xy, to_level0_xy
from medsimclr.tiling.reading import plan_reading, read_tiles
from tests.references.area_box import mean_over_box
from tests.slides.jpeg_slide import tissue, write_jpeg_slide, write_progressive_slide

_SIZE_XY = (1301, 907)
_SCALE = Scale(mpp=0.5, source="slide")


@pytest.fixture(scope="module")
def jpeg_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "jpeg.svs"
    return write_jpeg_slide(path, tissue(_SIZE_XY), factors=(1, 4))


@pytest.fixture(scope="module")
def plain_path(tmp_path_factory):
    """A slide without loss and without JPEG: OpenSlide reads it."""
    path = tmp_path_factory.mktemp("slides") / "plain.tiff"
    tifffile.imwrite(path, tissue(_SIZE_XY), tile=(128, 128), photometric="rgb", metadata=None)
    return path


def _tiles(
    path, *, mpp, tile_px=64, step_px=None, edge="drop", may_copy=False, direct=True, scale=_SCALE
):
    """Return the plan, the corners in the tile frame, and the tiles."""
    cut = Cut(
        target_mpp=mpp, tile_px=tile_px, step_px=step_px or tile_px, edge=edge, may_copy=may_copy
    )
    with open_slide(path) as slide:
        levels = find_jpeg_levels(slide) if direct else {}
        plan = plan_reading(slide, scale, levels, cut=cut)
        width, height = slide.level_dimensions_xy[plan.choice.level]
        size_xy = (width / plan.level_px_per_px, height / plan.level_px_per_px)
        xy_N2 = grid_xy(size_xy, tile_px=tile_px, step_px=cut.step_px, edge=edge)
        jpeg = levels.get(plan.choice.level)
        tiles = [
            tile if isinstance(tile, bytes) else tile.copy()
            for tile in read_tiles(slide, plan, jpeg, xy_N2)
        ]
    return plan, xy_N2, tiles


def _level(path, level=0):
    with open_slide(path) as slide:
        return slide.read_region((0, 0), level=level, size_xy=slide.level_dimensions_xy[level])


@pytest.mark.parametrize("tile_px", [64, 100, 256])
@pytest.mark.parametrize("step_share", [1, 0.5, 1.5])
@pytest.mark.parametrize("name", ["jpeg_path", "plain_path"])
def test_tiles_of_the_slides_own_scale_are_its_pixels(name, tile_px, step_share, request):
    path = request.getfixturevalue(name)
    step_px = int(tile_px * step_share)
    plan, xy_N2, tiles = _tiles(path, mpp=0.5, tile_px=tile_px, step_px=step_px)
    assert plan.reading == ("decoded" if name == "jpeg_path" else "region")
    assert plan.resampling == "none"
    level0 = _level(path)
    assert len(tiles) == len(xy_N2) > 5
    for (x, y), tile in zip(xy_N2.tolist(), tiles, strict=True):
        np.testing.assert_array_equal(tile, level0[y : y + tile_px, x : x + tile_px])


@pytest.mark.parametrize("name", ["jpeg_path", "plain_path"])
def test_tiles_beyond_the_edge_are_filled_with_the_background(name, request):
    path = request.getfixturevalue(name)
    _, xy_N2, tiles = _tiles(path, mpp=0.5, tile_px=256, edge="pad")
    level0 = np.pad(_level(path), ((0, 256), (0, 256), (0, 0)), constant_values=255)
    assert len(tiles) == 6 * 4
    for (x, y), tile in zip(xy_N2.tolist(), tiles, strict=True):
        np.testing.assert_array_equal(tile, level0[y : y + 256, x : x + 256])


@pytest.mark.parametrize("mpp", [0.51, 0.65, 0.77, 1.499, 1.5, 1.7])
@pytest.mark.parametrize("name", ["jpeg_path", "plain_path"])
def test_tiles_of_any_coarser_scale_are_area_averages_in_their_exact_place(name, mpp, request):
    path = request.getfixturevalue(name)
    plan, xy_N2, tiles = _tiles(path, mpp=mpp, tile_px=48)
    assert plan.resampling == "area"
    assert plan.tile_mpp == pytest.approx(mpp, rel=0.005)
    level0, ratio = _level(path), plan.level_px_per_px
    generator = np.random.default_rng(0)
    for index in generator.choice(len(tiles), 6, replace=False):
        x, y = xy_N2[index].tolist()
        for row, column in generator.integers(0, 48, (25, 2)).tolist():
            left, top = (x + column) * ratio, (y + row) * ratio
            mean_3 = mean_over_box(
                level0, left=left, top=top, right=left + ratio, bottom=top + ratio
            )
            assert np.abs(tiles[index][row, column] - mean_3).max() <= 0.52


def test_twice_as_coarse_is_decoded_at_half_size_and_close_to_the_area_average(jpeg_path):
    plan, _, tiles = _tiles(jpeg_path, mpp=1.0)
    assert (plan.reading, plan.resampling, plan.reduction) == ("decoded", "dct", 2)
    assert plan.tile_mpp == 1.0
    exact, xy_N2, means = _tiles(jpeg_path, mpp=1.0, direct=False)
    assert (exact.reading, exact.resampling, exact.reduction) == ("region", "area", 1)
    assert len(xy_N2) == 10 * 7
    error = np.abs(np.array(tiles).astype(int) - np.array(means).astype(int))
    assert error.mean() < 2.5
    for axis in (1, 2):
        for step in (-1, 1):
            shifted = np.roll(np.array(tiles).astype(int), step, axis=axis)
            assert np.abs(shifted - np.array(means))[:, 2:-2, 2:-2].mean() > 1.5 * error.mean()


@pytest.mark.parametrize("mpp", [0.498, 0.502, 0.997, 1.004])
def test_a_scale_within_half_a_percent_of_a_whole_multiple_is_that_multiple(jpeg_path, mpp):
    plan, _, _ = _tiles(jpeg_path, mpp=mpp)
    assert plan.tile_mpp in (0.5, 1.0)
    assert abs(plan.tile_mpp / mpp - 1) <= 0.005


@pytest.mark.parametrize("mpp", [0.46, 0.48, 0.49])
def test_a_slide_a_little_too_coarse_is_interpolated_in_its_exact_place(plain_path, mpp):
    plan, xy_N2, tiles = _tiles(plain_path, mpp=mpp, tile_px=50)
    assert plan.resampling == "linear"
    level0, ratio = _level(plain_path).astype(np.float64), mpp / 0.5
    x, y = xy_N2[30].tolist()
    for row, column in ((0, 0), (17, 31), (49, 49)):
        at_x, at_y = (x + column + 0.5) * ratio - 0.5, (y + row + 0.5) * ratio - 0.5
        left, top = int(at_x), int(at_y)
        part_x, part_y = at_x - left, at_y - top
        square = level0[top : top + 2, left : left + 2]
        expected = (
            square[0, 0] * (1 - part_x) * (1 - part_y)
            + square[0, 1] * part_x * (1 - part_y)
            + square[1, 0] * (1 - part_x) * part_y
            + square[1, 1] * part_x * part_y
        )
        # warpAffine knows places to 1/32 of a pixel.
        assert np.abs(tiles[30][row, column] - expected).max() <= 6


def test_copied_tiles_decode_to_the_slides_pixels(jpeg_path, shared_data):
    for path, tile_px in (
        (jpeg_path, 256),
        (shared_data / "slides" / "cmu_small_region.svs", 240),
    ):
        plan, xy_N2, tiles = _tiles(path, mpp=0.5, tile_px=tile_px, may_copy=True)
        assert (plan.reading, plan.resampling) == ("copied", "none")
        level0 = _level(path)
        for (x, y), stream in zip(xy_N2.tolist(), tiles, strict=True):
            assert isinstance(stream, bytes)
            np.testing.assert_array_equal(
                imagecodecs.jpeg8_decode(stream), level0[y : y + tile_px, x : x + tile_px]
            )


@pytest.mark.parametrize(
    ("changes", "reading"),
    [
        ({}, "copied"),
        ({"step_px": 512}, "copied"),
        ({"tile_px": 128}, "decoded"),
        ({"step_px": 128}, "decoded"),
        ({"mpp": 1.0}, "decoded"),
        ({"may_copy": False}, "decoded"),
        ({"mpp": 2.0}, "copied"),
        ({"direct": False}, "region"),
    ],
)
def test_tiles_are_copied_only_on_the_slides_own_grid(tmp_path, changes, reading):
    # High enough for a tile of its second level.
    path = write_jpeg_slide(tmp_path / "a.svs", tissue((1301, 1101)), factors=(1, 4))
    plan, _, tiles = _tiles(path, **{"mpp": 0.5, "tile_px": 256, "may_copy": True, **changes})
    assert plan.reading == reading
    assert {isinstance(tile, bytes) for tile in tiles} == {reading == "copied"}


@pytest.mark.parametrize(
    ("level0_mpp", "resampling", "tile_mpp"),
    [(0.4975, "none", 0.4975), (0.5025, "none", 0.5025), (0.4974, "area", 0.5)],
)
def test_pixels_are_resampled_where_that_is_what_the_plan_says(
    plain_path, level0_mpp, resampling, tile_mpp
):
    scale = Scale(mpp=level0_mpp, source="slide")
    plan, xy_N2, tiles = _tiles(plain_path, mpp=0.5, scale=scale)
    assert plan.resampling == resampling
    assert plan.tile_mpp == pytest.approx(tile_mpp)
    level0, (x, y) = _level(plain_path), xy_N2[-1].tolist()
    is_untouched = np.array_equal(tiles[-1], level0[y : y + 64, x : x + 64])
    assert is_untouched == (resampling == "none")


def test_tiles_of_progressive_jpeg_are_left_to_openslide(tmp_path):
    path = write_progressive_slide(tmp_path / "a.tiff", tissue((700, 500)))
    plan, xy_N2, tiles = _tiles(path, mpp=0.5, tile_px=256, may_copy=True)
    assert (plan.reading, plan.resampling) == ("region", "none")
    level0 = _level(path)
    assert len(tiles) == 2
    for (x, y), tile in zip(xy_N2.tolist(), tiles, strict=True):
        np.testing.assert_array_equal(tile, level0[y : y + 256, x : x + 256])


def test_a_level_of_a_fractional_downsample_is_read_in_its_place(shared_data):
    # The second level of this slide is 2.0005055 times smaller than the first.
    path = shared_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs"
    plan, xy_N2, tiles = _tiles(path, mpp=1.0, tile_px=224)
    assert plan.choice.level == 1
    assert plan.resampling == "none"
    level1 = _level(path, 1).astype(int)
    level0_xy = to_level0_xy(xy_N2, level0_per_px=plan.level0_px_per_px)
    assert np.abs(level0_xy - xy_N2 * 2.0005055500659967).max() <= 0.5
    with open_slide(path) as slide:
        for (x0, y0), tile in zip(level0_xy.tolist(), tiles, strict=True):
            expected = slide.read_region((x0, y0), level=1, size_xy=(224, 224))
            np.testing.assert_array_equal(tile, expected)
    errors = []
    for (x, y), tile in zip(xy_N2.tolist(), tiles, strict=True):
        here = np.abs(level1[y : y + 224, x : x + 224] - tile).mean()
        if level1[y : y + 224, x : x + 224].std() > 15:
            beside = [
                np.abs(level1[y + dy : y + dy + 222, x + dx : x + dx + 222] - tile[1:-1, 1:-1])
                for dx, dy in ((0, 1), (2, 1), (1, 0), (1, 2))
            ]
            errors.append((here, min(step.mean() for step in beside)))
    assert len(errors) > 20
    # OpenSlide takes whole level-0 pixels, so that a place is met to a quarter of a pixel here.
    assert all(here < 0.55 * beside for here, beside in errors)


def test_an_exact_slide_of_a_fractional_downsample_is_read_to_the_pixel(tmp_path):
    # 1301 / 650 = 2.0015: the direct way knows level pixels and need not round.
    path = write_jpeg_slide(tmp_path / "a.svs", tissue(_SIZE_XY), factors=(1, 2))
    plan, xy_N2, tiles = _tiles(path, mpp=1.0, tile_px=100)
    assert plan.choice.level == 1
    assert plan.reading == "decoded"
    level1 = _level(path, 1)
    for (x, y), tile in zip(xy_N2.tolist(), tiles, strict=True):
        np.testing.assert_array_equal(tile, level1[y : y + 100, x : x + 100])
