"""MONAI's backends give the pixels that our own readers give."""

import importlib.util

import numpy as np
import pytest

from medsimclr.errors import SlideError
from medsimclr.slides import monai_slide
from medsimclr.slides.monai_slide import MonaiSlide
from medsimclr.slides.opening import open_slide
from tests.references.ome_tiff import write_ome
from tests.references.pyramid import noise_levels, write_pyramid
from tests.slides.whole_slide import thumbnail_of

LEVELS = noise_levels((256, 208), (64, 52))
# Corners and sizes in pixels of the level: inside, across tiles, over every border, outside.
REGIONS = [
    ((0, 0), (40, 30)),
    ((61, 63), (90, 70)),
    ((-7, -5), (30, 20)),
    ((240, 190), (40, 40)),
    ((900, 10), (8, 6)),
    ((10, -90), (8, 6)),
]


def _backend(name):
    is_missing = name == "cucim" and importlib.util.find_spec("cucim") is None
    return pytest.param(
        name, marks=pytest.mark.skipif(is_missing, reason="cuCIM is not installed here")
    )


EVERY_BACKEND = [_backend(name) for name in ("openslide", "tifffile", "cucim")]


def _both(path, backend):
    return open_slide(path, reader=f"monai:{backend}"), open_slide(path)


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_regions_of_a_pyramid_are_the_pixels_written(tmp_path, backend):
    path = write_pyramid(tmp_path / "a.tif", LEVELS, pixels_per_cm_xy=(20_000, 20_000))
    slide, reference = _both(path, backend)
    with slide, reference:
        assert (slide.vendor, slide.mpp_source) == ("generic-tiff", "tiff resolution")
        assert slide.mpp_xy == reference.mpp_xy
        assert slide.level_dimensions_xy == reference.level_dimensions_xy
        assert slide.level_downsamples == pytest.approx(reference.level_downsamples)
        for level, pixels_HW3 in enumerate(LEVELS):
            padded = np.full((2000, 2000, 3), 255, np.uint8)
            height, width = pixels_HW3.shape[:2]
            padded[500 : 500 + height, 500 : 500 + width] = pixels_HW3
            for (x, y), size_xy in REGIONS:
                region = slide.read_region(
                    (x * 4**level, y * 4**level), level=level, size_xy=size_xy
                )
                expected = padded[500 + y :, 500 + x :][: size_xy[1], : size_xy[0]]
                np.testing.assert_array_equal(region, expected)


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("name", ["cmu_small_region.svs", "tcga-cr-7395-01a-01-ts1.svs"])
def test_regions_of_real_slides_equal_openslide(shared_data, backend, name):
    slide, reference = _both(shared_data / "slides" / name, backend)
    with slide, reference:
        assert slide.vendor == reference.vendor
        assert (slide.mpp_xy, slide.mpp_source) == (reference.mpp_xy, reference.mpp_source)
        for level in range(len(slide.level_dimensions_xy)):
            assert slide.level_dimensions_xy[level] == reference.level_dimensions_xy[level]
            # Between two pixels of a level OpenSlide interpolates; the others take the nearest.
            places = [(0, 0), (1000, 1502), (1777, 1333), (2200, 2900)]
            for level0_xy in places if level == 0 or backend == "openslide" else places[:1]:
                region = slide.read_region(level0_xy, level=level, size_xy=(300, 280))
                expected = reference.read_region(level0_xy, level=level, size_xy=(300, 280))
                np.testing.assert_array_equal(region, expected)


@pytest.mark.parametrize(
    "name", ["fluorescence_dapi.ndpi", "bone_marrow_jpeg.dcm", "camelyon_overview_jpeg2000.dcm"]
)
def test_through_monai_openslide_reads_all_its_formats(shared_data, name):
    slide, reference = _both(shared_data / "slides" / name, "openslide")
    with slide, reference:
        assert slide.level_downsamples == reference.level_downsamples
        level = len(slide.level_downsamples) - 1
        for level0_xy in ((0, 0), (333, 201), (-9, 5), (10**6, 0)):
            region = slide.read_region(level0_xy, level=level, size_xy=(60, 50))
            expected = reference.read_region(level0_xy, level=level, size_xy=(60, 50))
            np.testing.assert_array_equal(region, expected)


def test_through_monai_tifffile_reads_an_ome_tiff(tmp_path):
    path = write_ome(tmp_path / "a.ome.tif", LEVELS, metadata={"PhysicalSizeX": 0.5})
    slide = open_slide(path, reader="monai:tifffile")
    with slide:
        assert (slide.vendor, slide.mpp_source) == ("ome-tiff", "ome-xml")
        region = slide.read_region((9, 7), level=0, size_xy=(100, 90))
    np.testing.assert_array_equal(region, LEVELS[0][7:97, 9:109])


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_thumbnail_equals_that_of_our_reader(shared_data, backend):
    slide, reference = _both(shared_data / "slides" / "cmu_small_region.svs", backend)
    with slide, reference:
        np.testing.assert_array_equal(
            thumbnail_of(slide, max_px=200), thumbnail_of(reference, max_px=200)
        )


def test_a_level_is_decoded_once_by_tifffile(tmp_path, monkeypatch):
    slide = open_slide(write_pyramid(tmp_path / "a.tif", LEVELS), reader="monai:tifffile")
    with slide:
        decoded = []
        get_data = slide._reader.get_data
        monkeypatch.setattr(
            slide._reader,
            "get_data",
            lambda *of, **how: decoded.append(how) or get_data(*of, **how),
        )
        for x in range(5):
            slide.read_region((x, 0), level=0, size_xy=(10, 10))
    assert len(decoded) == 1


def test_a_level_too_large_to_be_read_whole_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(monai_slide, "_MAX_LEVEL_PX", 1000)
    slide = open_slide(write_pyramid(tmp_path / "a.tif", LEVELS), reader="monai:tifffile")
    with slide, pytest.raises(SlideError, match="tifffile backend reads a level whole"):
        slide.read_region((0, 0), level=0, size_xy=(10, 10))


def test_what_the_backend_cannot_open_is_a_slide_error(shared_data):
    path = shared_data / "slides" / "bone_marrow_jpeg.dcm"
    with pytest.raises(
        SlideError, match=r"'bone_marrow_jpeg\.dcm': MONAI's tifffile backend cannot"
    ):
        open_slide(path, reader="monai:tifffile")


def test_another_level_0_than_our_reader_sees_is_refused(tmp_path):
    path = write_pyramid(tmp_path / "a.tif", LEVELS)
    other = open_slide(write_pyramid(tmp_path / "b.tif", LEVELS[1:]))
    with other, pytest.raises(SlideError, match=r"sees \(256, 208\) pixels, our reader \(64, 52\)"):
        MonaiSlide(path, backend="openslide", facts=other)


def test_pixels_that_cannot_be_decoded_are_a_slide_error(tmp_path, shared_data):
    data = bytearray((shared_data / "slides" / "cmu_small_region.svs").read_bytes())
    data[5_000:1_200_000] = bytes(1_195_000)
    (tmp_path / "damaged.svs").write_bytes(data)
    with (
        open_slide(tmp_path / "damaged.svs", reader="monai:openslide") as slide,
        pytest.raises(SlideError, match=r"level 0 at level-0 pixel \(100, 200\) cannot be decoded"),
    ):
        slide.read_region((100, 200), level=0, size_xy=(300, 300))
