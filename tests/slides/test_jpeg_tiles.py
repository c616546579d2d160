"""The direct way of reading JPEG tiles gives OpenSlide's pixels, and not one pixel further."""

import cv2
import numpy as np
import pytest
import tifffile

from medsimclr.errors import SlideError
from medsimclr.slides.jpeg_levels import find_jpeg_levels
from medsimclr.slides.jpeg_tiles import JpegTiles
from medsimclr.slides.opening import open_slide
from tests.slides.jpeg_slide import tissue, write_jpeg_slide

# Odd sizes: the last column and row of tiles are partly beyond the slide.
_SIZE_XY = (1301, 907)


@pytest.fixture(
    scope="module",
    params=[
        ("aperio", "ycbcr", (2, 2), (256, 256)),
        ("aperio", "rgb", None, (240, 240)),
        ("generic", "ycbcr", (2, 1), (128, 256)),
        ("generic", "ycbcr", (1, 1), (256, 128)),
    ],
    ids=lambda p: f"{p[0]}-{p[1]}-{p[3]}",
)
def slide(request, tmp_path_factory):
    vendor, colour, subsampling, tile = request.param
    path = tmp_path_factory.mktemp("slides") / "a.tiff"
    write_jpeg_slide(
        path,
        tissue(_SIZE_XY),
        tile=tile,
        vendor=vendor,
        colour=colour,
        subsampling=subsampling or (1, 1),
    )
    with open_slide(path) as opened:
        yield opened


def _openslide_level(slide, level):
    return slide.read_region((0, 0), level=level, size_xy=slide.level_dimensions_xy[level])


def test_every_pixel_of_every_level_is_that_of_openslide(slide):
    levels = find_jpeg_levels(slide)
    assert sorted(levels) == [0, 1]
    for level, jpeg in levels.items():
        tiles = JpegTiles(slide.path, jpeg, reduction=1)
        width, height = slide.level_dimensions_xy[level]
        np.testing.assert_array_equal(
            tiles.read(0, 0, width=width, height=height), _openslide_level(slide, level)
        )
        tiles.close()


@pytest.mark.parametrize("x", [0, 1, 255, 256, 700])
@pytest.mark.parametrize("y", [0, 127, 129, 511])
def test_any_rectangle_is_that_of_openslide(slide, x, y):
    tiles = JpegTiles(slide.path, find_jpeg_levels(slide)[0], reduction=1)
    region = tiles.read(x, y, width=301, height=202)
    np.testing.assert_array_equal(region, slide.read_region((x, y), level=0, size_xy=(301, 202)))
    tiles.close()


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_reduced_level_is_the_area_average_in_its_place(slide, reduction):
    tiles = JpegTiles(slide.path, find_jpeg_levels(slide)[0], reduction=reduction)
    width, height = tiles.size_xy
    assert (width, height) == (_SIZE_XY[0] // reduction, _SIZE_XY[1] // reduction)
    reduced = tiles.read(0, 0, width=width, height=height).astype(int)
    tiles.close()
    full = _openslide_level(slide, 0)[: height * reduction, : width * reduction]
    mean = cv2.resize(full, (width, height), interpolation=cv2.INTER_AREA).astype(int)
    # 4:2:2 streams lose colour at a quarter and less: only thumbnails are read so.
    assert np.abs(reduced - mean).mean() < (2.5 if reduction == 2 else 12)
    # Any shift by a pixel is further away than the true place.
    for axis in (0, 1):
        for step in (-1, 1):
            shifted = np.roll(reduced, step, axis=axis)
            inner = np.s_[2:-2, 2:-2]
            assert np.abs(shifted - mean)[inner].mean() > 1.4 * np.abs(reduced - mean)[inner].mean()


def test_few_tiles_stay_in_memory_and_those_thrown_out_come_back(slide, monkeypatch):
    monkeypatch.setattr("medsimclr.slides.jpeg_tiles._CACHE_BYTES", 1)
    tiles = JpegTiles(slide.path, find_jpeg_levels(slide)[0], reduction=1)
    whole = _openslide_level(slide, 0)
    for _ in range(2):
        for y in range(0, 800, 100):
            region = tiles.read(0, y, width=1300, height=100)
            np.testing.assert_array_equal(region, whole[y : y + 100, :1300])
    assert len(tiles._cache) <= 4
    tiles.close()


def test_the_tiles_of_a_real_aperio_slide_are_those_of_openslide(shared_data):
    with open_slide(shared_data / "slides" / "cmu_small_region.svs") as slide:
        levels = find_jpeg_levels(slide)
        assert sorted(levels) == [0]
        assert levels[0].tables is not None
        assert levels[0].colour_space == "RGB"
        tiles = JpegTiles(slide.path, levels[0], reduction=1)
        width, height = slide.dimensions_xy
        np.testing.assert_array_equal(
            tiles.read(0, 0, width=width, height=height), _openslide_level(slide, 0)
        )
        tiles.close()


@pytest.mark.parametrize(
    "name", ["tcga-cr-7395-01a-01-ts1.svs", "fluorescence_dapi.ndpi", "bone_marrow_jpeg.dcm"]
)
def test_what_is_no_plain_tiff_of_jpeg_tiles_is_left_to_openslide(shared_data, name):
    with open_slide(shared_data / "slides" / name) as slide:
        assert find_jpeg_levels(slide) == {}


def test_a_level_with_a_gap_is_left_to_openslide(tmp_path):
    path = write_jpeg_slide(tmp_path / "a.tiff", tissue((700, 500)), vendor="generic")
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[0].tags["TileByteCounts"]
    content = bytearray(path.read_bytes())
    content[tag.valueoffset : tag.valueoffset + 4] = bytes(4)
    path.write_bytes(content)
    with open_slide(path) as slide:
        assert sorted(find_jpeg_levels(slide)) == [1]


def test_a_tile_that_does_not_decode_is_named(tmp_path):
    path = write_jpeg_slide(tmp_path / "a.tiff", tissue((700, 500)), vendor="generic")
    with open_slide(path) as slide:
        jpeg = find_jpeg_levels(slide)[0]
    content = bytearray(path.read_bytes())
    start = int(jpeg.offset_N[4])
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)
    for reduction in (1, 2):
        tiles = JpegTiles(path, jpeg, reduction=reduction)
        with pytest.raises(
            SlideError, match=r"tile in column 1, row 1 of the level of \(700, 500\)"
        ):
            tiles.read(300 // reduction, 300 // reduction, width=9, height=9)
        tiles.close()
    path.write_bytes(content[: start + 100])
    tiles = JpegTiles(path, jpeg, reduction=1)
    with pytest.raises(SlideError, match=r"expected \d+ bytes, got 100\)\. Copy the slide anew"):
        tiles.copy_stream(1, 1)
    tiles.close()
