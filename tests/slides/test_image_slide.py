import contextlib
import io
import warnings

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medsimclr.errors import SlideError, UnsafeInputError
from medsimclr.slides.image_slide import ImageSlide
from tests.references.area_average import area_average_loops
from tests.references.pyramid import noise_levels
from tests.slides.whole_slide import thumbnail_of

(NOISE_HW3,) = noise_levels((60, 40))


def _write(path, **options):
    Image.fromarray(NOISE_HW3).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
@pytest.mark.parametrize(
    ("x", "y"), [(0, 0), (1, 2), (50, 33), (-4, -7), (55, -3), (70, 5), (5, -90)]
)
def test_read_region_returns_the_pixels_and_white_beyond_the_borders(tmp_path, suffix, x, y):
    with ImageSlide(_write(tmp_path / f"a.{suffix}", dpi=(300, 300))) as slide:
        region = slide.read_region((x, y), level=0, size_xy=(10, 7))
        assert (slide.dimensions_xy, slide.level_downsamples) == ((60, 40), (1.0,))
        assert (slide.mpp_xy, slide.mpp_source) == (None, None)
    padded = np.full((240, 260, 3), 255, np.uint8)
    padded[100:140, 100:160] = NOISE_HW3
    np.testing.assert_array_equal(region, padded[100 + y : 107 + y, 100 + x : 110 + x])


def test_a_region_is_a_copy(tmp_path):
    with ImageSlide(_write(tmp_path / "a.png")) as slide:
        slide.read_region((0, 0), level=0, size_xy=(60, 40))[:] = 0
        thumbnail_of(slide, max_px=60)[:] = 0
        np.testing.assert_array_equal(thumbnail_of(slide, max_px=60), NOISE_HW3)


@pytest.mark.parametrize("max_px", [100, 60, 31])
def test_thumbnail_is_the_area_average(tmp_path, max_px):
    with ImageSlide(_write(tmp_path / "a.png")) as slide:
        thumbnail = thumbnail_of(slide, max_px=max_px)
    assert max(thumbnail.shape) == min(max_px, 60)
    expected = area_average_loops(NOISE_HW3, (thumbnail.shape[1], thumbnail.shape[0]))
    assert np.abs(thumbnail - expected).max() <= 0.501


def test_transparent_pixels_are_white(tmp_path):
    rgba_HW4 = np.dstack([NOISE_HW3, np.full((40, 60), 255, np.uint8)])
    rgba_HW4[:20, :, 3] = 0
    Image.fromarray(rgba_HW4).save(tmp_path / "a.png")
    with ImageSlide(tmp_path / "a.png") as slide:
        region = slide.read_region((0, 0), level=0, size_xy=(60, 40))
    assert (region[:20] == 255).all()
    np.testing.assert_array_equal(region[20:], NOISE_HW3[20:])


def test_a_grey_image_has_three_equal_channels(tmp_path):
    Image.fromarray(NOISE_HW3[:, :, 0]).save(tmp_path / "a.png")
    with ImageSlide(tmp_path / "a.png") as slide:
        region = slide.read_region((0, 0), level=0, size_xy=(60, 40))
    np.testing.assert_array_equal(region, np.repeat(NOISE_HW3[:, :, :1], 3, axis=2))


def test_sixteen_bits_are_refused_and_not_clipped(tmp_path):
    Image.fromarray(NOISE_HW3[:, :, 0].astype(np.uint16) * 200).save(tmp_path / "a.png")
    with pytest.raises(SlideError, match=r"must have 8 bits per channel, got mode 'I;16'"):
        ImageSlide(tmp_path / "a.png")


def test_a_tiff_of_several_pages_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([NOISE_HW3] * 3), photometric="rgb")
    with pytest.raises(SlideError, match="must hold one page, got 3"):
        ImageSlide(tmp_path / "a.tif")


def test_other_formats_of_pillow_are_refused(tmp_path):
    Image.fromarray(NOISE_HW3).save(tmp_path / "a.png", format="GIF")
    with pytest.raises(SlideError, match="Pillow cannot decode it: cannot identify"):
        ImageSlide(tmp_path / "a.png")


def test_a_decompression_bomb_is_refused_unread(tmp_path, monkeypatch):
    path = _write(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60 * 40 // 2 - 1)
    with pytest.raises(UnsafeInputError, match=r"'a\.png' claims more pixels .*pyramidal TIFF"):
        ImageSlide(path)


def test_a_large_but_safe_image_opens_without_a_warning(tmp_path, monkeypatch):
    path = _write(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60 * 40 - 1)
    with warnings.catch_warnings(record=True) as caught:
        assert ImageSlide(path).dimensions_xy == (60, 40)
    assert not caught


@settings(max_examples=150, deadline=None)
@given(
    image_format=st.sampled_from(["PNG", "JPEG", "BMP", "TIFF"]),
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=4),
    keep=st.floats(0, 1),
)
def test_damaged_images_open_or_raise_our_errors(tmp_path_factory, image_format, flips, keep):
    buffer = io.BytesIO()
    Image.fromarray(NOISE_HW3[:8, :8]).save(buffer, format=image_format)
    data = bytearray(buffer.getvalue())
    for place, mask in flips:
        data[int(place * len(data))] ^= mask
    path = tmp_path_factory.mktemp("damaged") / "a.img"
    path.write_bytes(data[: max(1, int(keep * len(data)))])
    with contextlib.suppress(SlideError, UnsafeInputError), ImageSlide(path) as slide:
        assert thumbnail_of(slide, max_px=4).shape[2] == 3


def test_real_photographs_open(shared_data):
    for name, size_xy in (("flat_he.jpeg", (2500, 2500)), ("flat_ink.jpeg", (5600, 1000))):
        with (
            ImageSlide(shared_data / "slides" / name) as slide,
            Image.open(shared_data / "slides" / name) as reference,
        ):
            assert (slide.vendor, slide.dimensions_xy, slide.mpp_xy) == ("jpeg", size_xy, None)
            region = slide.read_region((701, 503), level=0, size_xy=(33, 21))
            expected = np.array(reference.crop((701, 503, 734, 524)))
            np.testing.assert_array_equal(region, expected)


@pytest.mark.parametrize(
    ("per_unit", "unit", "mpp_xy"),
    [
        ((20_000, 20_000), "CENTIMETER", (0.5, 0.5)),
        ((50_800, 25_400), "INCH", (0.5, 1.0)),
        ((300, 300), "INCH", None),
        ((20_000, 20_000), "NONE", None),
        ((0, 0), "CENTIMETER", None),
    ],
)
def test_the_resolution_of_a_plain_tiff_is_a_scale_unless_it_is_a_printers(
    tmp_path, per_unit, unit, mpp_xy
):
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros((40, 50, 3), np.uint8),
        photometric="rgb",
        resolution=per_unit,
        resolutionunit=unit,
        metadata=None,
    )
    with ImageSlide(tmp_path / "a.tif") as slide:
        assert slide.mpp_xy == mpp_xy
        assert slide.mpp_source == ("tiff resolution" if mpp_xy else None)


def test_a_tiled_tiff_is_openslides_and_has_no_scale_here(tmp_path):
    image = np.zeros((64, 64, 3), np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", image, photometric="rgb", tile=(32, 32), resolution=(2e4, 2e4),
        resolutionunit="CENTIMETER", metadata=None,
    )  # fmt: skip
    with ImageSlide(tmp_path / "a.tif") as slide:
        assert slide.mpp_xy is None
