import functools

import numpy as np
import openslide
import pytest

from medsimclr.errors import SlideError
from medsimclr.slides import pixels
from medsimclr.slides.openslide_slide import OpenSlideSlide
from medsimclr.slides.scale import resolve_mpp
from medsimclr.tiling import overview
from tests.references.area_average import area_average_loops
from tests.references.pyramid import noise_levels, write_pyramid
from tests.slides.whole_slide import thumbnail_of

APERIO = "Aperio Image Library v11.2.1\r\n256x256 (64x64)|AppMag = 20"


@pytest.mark.parametrize(("x", "y"), [(0, 0), (1, 0), (63, 65), (100, 37), (236, 190)])
def test_read_region_returns_the_pixels_at_the_place_asked(tmp_path, x, y):
    levels = noise_levels((256, 210), (64, 52))
    with OpenSlideSlide(write_pyramid(tmp_path / "a.tif", levels)) as slide:
        region = slide.read_region((x, y), level=0, size_xy=(20, 15))
    assert region.dtype == np.uint8
    np.testing.assert_array_equal(region, levels[0][y : y + 15, x : x + 20])


@pytest.mark.parametrize(("x", "y"), [(0, 0), (4, 8), (128, 100)])
def test_read_region_takes_level0_pixels_at_every_level(tmp_path, x, y):
    levels = noise_levels((256, 208), (64, 52))
    with OpenSlideSlide(write_pyramid(tmp_path / "a.tif", levels)) as slide:
        assert slide.level_downsamples == (1.0, 4.0)
        region = slide.read_region((x, y), level=1, size_xy=(20, 15))
    np.testing.assert_array_equal(region, levels[1][y // 4 : y // 4 + 15, x // 4 : x // 4 + 20])


def test_read_region_is_white_beyond_the_borders(tmp_path):
    levels = noise_levels((100, 80))
    with OpenSlideSlide(write_pyramid(tmp_path / "a.tif", levels)) as slide:
        region = slide.read_region((-3, 70), level=0, size_xy=(20, 15))
    expected = np.full((15, 20, 3), 255, np.uint8)
    expected[:10, 3:] = levels[0][70:80, 0:17]
    np.testing.assert_array_equal(region, expected)


def test_read_region_takes_the_background_colour_of_the_slide(tmp_path, monkeypatch):
    path = write_pyramid(tmp_path / "a.tif", noise_levels((64, 64)))
    properties = {"openslide.background-color": "0A141E", "openslide.vendor": "generic-tiff"}
    monkeypatch.setattr(openslide.OpenSlide, "properties", properties)
    with OpenSlideSlide(path) as slide:
        region = slide.read_region((1000, 1000), level=0, size_xy=(2, 2))
    assert region.tolist() == [[[10, 20, 30]] * 2] * 2


@pytest.mark.parametrize("max_px", [300, 64, 50, 17])
def test_thumbnail_is_the_area_average_of_the_coarsest_level_that_suffices(tmp_path, max_px):
    levels = noise_levels((256, 208), (64, 52))
    with OpenSlideSlide(write_pyramid(tmp_path / "a.tif", levels)) as slide:
        thumbnail = thumbnail_of(slide, max_px=max_px)
    source = levels[1] if max_px <= 64 else levels[0]
    longer = min(max_px, 256)
    assert thumbnail.shape == (round(208 * longer / 256), longer, 3)
    expected = area_average_loops(source, (thumbnail.shape[1], thumbnail.shape[0]))
    assert np.abs(thumbnail - expected).max() <= 0.501


def test_thumbnail_read_in_blocks_is_the_same(tmp_path, monkeypatch):
    path = write_pyramid(tmp_path / "a.tif", noise_levels((256, 208), (64, 52)))
    with OpenSlideSlide(path) as slide:
        whole = [thumbnail_of(slide, max_px=max_px) for max_px in (200, 50)]
        in_blocks = functools.partial(pixels.area_average, block_px=37)
        monkeypatch.setattr(overview, "area_average", in_blocks)
        blocked = [thumbnail_of(slide, max_px=max_px) for max_px in (200, 50)]
    for one, other in zip(whole, blocked, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1  # float32 sums may round either way


def test_mpp_of_a_plain_tiff_comes_from_its_resolution(tmp_path):
    path = write_pyramid(
        tmp_path / "a.tif", noise_levels((64, 64)), pixels_per_cm_xy=(20_000, 19_980)
    )
    with OpenSlideSlide(path) as slide:
        assert slide.mpp_xy == pytest.approx((0.5, 0.5005), abs=1e-5)
        assert slide.mpp_source == "tiff resolution"


@pytest.mark.parametrize(
    ("resolution", "unit"),
    [
        (None, "CENTIMETER"),
        ((20_000, 20_000), "NONE"),
        ((72, 72), "INCH"),
        ((300, 300), "INCH"),
        ((1, 1), "INCH"),
        ((28.346, 28.346), "CENTIMETER"),
        ((0, 0), "CENTIMETER"),
        ((4e6, 4e6), "CENTIMETER"),
    ],
)
def test_tiff_resolution_of_a_printer_is_no_scale(tmp_path, resolution, unit):
    path = write_pyramid(
        tmp_path / "a.tif", noise_levels((64, 64)), pixels_per_cm_xy=resolution, unit=unit
    )
    with OpenSlideSlide(path) as slide:
        assert (slide.mpp_xy, slide.mpp_source) == (None, None)


def test_mpp_of_the_scanner_wins_over_the_tiff_resolution(tmp_path):
    path = write_pyramid(
        tmp_path / "a.svs",
        noise_levels((256, 256)),
        pixels_per_cm_xy=(20_000, 20_000),
        description=APERIO + "|MPP = 0.2526",
    )
    with OpenSlideSlide(path) as slide:
        assert slide.vendor == "aperio"
        assert slide.mpp_xy == (0.2526, 0.2526)
        assert slide.mpp_source == "slide"


def test_mpp_falls_back_to_the_tiff_resolution_where_the_scanner_is_silent(tmp_path):
    path = write_pyramid(
        tmp_path / "a.svs",
        noise_levels((256, 256)),
        pixels_per_cm_xy=(20_000, 20_000),
        description=APERIO,
    )
    with OpenSlideSlide(path) as slide:
        assert slide.vendor == "aperio"
        assert slide.mpp_xy == pytest.approx((0.5, 0.5))
        assert slide.mpp_source == "tiff resolution"


@pytest.mark.parametrize("stated", ["0", "-0.5", "inf", "1e9"])
def test_a_senseless_mpp_of_the_scanner_is_refused_and_can_be_overruled(tmp_path, stated):
    path = write_pyramid(
        tmp_path / "a.svs",
        noise_levels((256, 256)),
        pixels_per_cm_xy=(20_000, 20_000),
        description=f"{APERIO}|MPP = {stated}",
    )
    with OpenSlideSlide(path) as slide, pytest.raises(SlideError, match="states an mpp of"):
        resolve_mpp(slide.mpp_xy, slide.mpp_source, override_mpp=None)
    assert resolve_mpp(slide.mpp_xy, slide.mpp_source, override_mpp=0.5).mpp == 0.5


@pytest.mark.parametrize("stated", ["nan", "half a micrometre", ""])
def test_what_is_no_number_is_no_scale(tmp_path, stated):
    path = write_pyramid(
        tmp_path / "a.svs",
        noise_levels((256, 256)),
        description=f"{APERIO}|MPP = {stated}",
    )
    with OpenSlideSlide(path) as slide:
        assert slide.vendor == "aperio"
        assert (slide.mpp_xy, slide.mpp_source) == (None, None)


@pytest.mark.parametrize(
    ("name", "vendor", "size_xy", "n_levels", "mpp"),
    [
        ("cmu_small_region.svs", "aperio", (2220, 2967), 1, 0.499),
        ("tcga-cr-7395-01a-01-ts1.svs", "aperio", (4443, 3567), 2, None),
        ("fluorescence_dapi.ndpi", "hamamatsu", (3968, 4864), 7, 0.2282),
        ("camelyon_overview_jpeg2000.dcm", "dicom", (1696, 812), 1, 28.9685),
        ("bone_marrow_jpeg.dcm", "dicom", (957, 715), 1, 16.783),
    ],
)
def test_real_slides_state_what_their_scanners_wrote(
    shared_data, name, vendor, size_xy, n_levels, mpp
):
    with OpenSlideSlide(shared_data / "slides" / name) as slide:
        assert (slide.vendor, slide.dimensions_xy) == (vendor, size_xy)
        assert len(slide.level_dimensions_xy) == len(slide.level_downsamples) == n_levels
        if mpp is None:
            assert (slide.mpp_xy, slide.mpp_source) == (None, None)
        else:
            assert slide.mpp_xy == pytest.approx((mpp, mpp), rel=1e-3)
            assert slide.mpp_source == "slide"


def test_real_slide_regions_equal_openslide(shared_data):
    path = shared_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs"
    with OpenSlideSlide(path) as slide, openslide.OpenSlide(path) as reference:
        for level, level0_xy in ((0, (1501, 1203)), (1, (1024, 1536))):
            region = slide.read_region(level0_xy, level=level, size_xy=(70, 50))
            expected = np.array(reference.read_region(level0_xy, level, (70, 50)))
            opaque = expected[:, :, 3] == 255
            np.testing.assert_array_equal(region[opaque], expected[opaque][:, :3])
            assert np.abs(region.astype(int) - expected[:, :, :3]).max() <= 1


def test_transparent_pixels_of_a_real_dicom_are_white(shared_data):
    with OpenSlideSlide(shared_data / "broken" / "sm_image.dcm") as slide:
        region = slide.read_region((0, 0), level=0, size_xy=(80, 60))
    assert (region[50:] == 255).all()
    assert (region[:, 50:] == 255).all()
    assert region[:50, :50].mean() == pytest.approx(243, abs=2)


def test_names_of_unread_images_are_no_free_text(tmp_path, monkeypatch):
    properties = {
        "openslide.vendor": "aperio",
        "openslide.associated.label.width": "9",
        "openslide.associated.label.height": "9",
        "openslide.associated.DOE JOHN.width": "9",
    }
    monkeypatch.setattr(openslide.OpenSlide, "properties", properties)
    with OpenSlideSlide(write_pyramid(tmp_path / "a.tif", noise_levels((64, 64)))) as slide:
        assert slide.unread_images == ("label", "other")


def test_label_and_macro_images_are_never_opened(shared_data, monkeypatch):
    def refuse(*_):
        raise AssertionError("an associated image was asked for")

    monkeypatch.setattr(openslide.OpenSlide, "associated_images", property(refuse))
    with OpenSlideSlide(shared_data / "slides" / "cmu_small_region.svs") as slide:
        assert thumbnail_of(slide, max_px=100).shape == (100, 75, 3)
        assert slide.read_region((0, 0), level=0, size_xy=(5, 4)).shape == (4, 5, 3)


def test_a_region_that_cannot_be_decoded_names_level_and_place(tmp_path, shared_data):
    data = bytearray((shared_data / "slides" / "cmu_small_region.svs").read_bytes())
    data[5_000:1_200_000] = bytes(1_195_000)
    path = tmp_path / "damaged.svs"
    path.write_bytes(data)
    with (
        OpenSlideSlide(path) as slide,
        pytest.raises(SlideError, match=r"level 0 at level-0 pixel \(100, 200\) cannot be decoded"),
    ):
        slide.read_region((100, 200), level=0, size_xy=(300, 300))
