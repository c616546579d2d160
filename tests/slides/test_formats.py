"""Every format that can be written here is opened by the real OpenSlide to known pixels."""

import numpy as np
import openslide
import pytest
from PIL import Image

from medsimclr.errors import SlideError
from medsimclr.slides.opening import find_slides, open_slide
from medsimclr.slides.scale import resolve_mpp
from tests.references import vendor_slides
from tests.references.pyramid import noise_levels

PYRAMID = noise_levels((256, 192), (64, 48))
HALVES = noise_levels((256, 192), (128, 96))
APERIO = "Aperio Image Library v11.2.1\r\n256x192 (64x64)|AppMag = 20|MPP = 0.5"


def _check(path, levels, *, vendor, source="slide", offset_xy=(0, 0)):
    """Compare whole levels and a region across tiles."""
    with open_slide(path) as slide:
        assert slide.vendor == vendor
        assert len(slide.level_dimensions_xy) == len(levels)
        scale = resolve_mpp(slide.mpp_xy, slide.mpp_source, override_mpp=None)
        assert (scale.mpp, scale.source) == (pytest.approx(0.5, rel=1e-6), source)
        for level, pixels_HW3 in enumerate(levels):
            height, width = pixels_HW3.shape[:2]
            whole = slide.read_region(offset_xy, level=level, size_xy=(width, height))
            np.testing.assert_array_equal(whole, pixels_HW3)
        x, y = offset_xy[0] + 40, offset_xy[1] + 52
        region = slide.read_region((x, y), level=0, size_xy=(70, 31))
        np.testing.assert_array_equal(region, levels[0][52:83, 40:110])


@pytest.mark.parametrize(
    ("name", "write", "vendor", "source"),
    [
        ("a.tiff", vendor_slides.write_philips, "philips", "slide"),
        ("a.tif", vendor_slides.write_trestle, "trestle", "slide"),
        ("a.tif", vendor_slides.write_huron, "huron", "tiff resolution"),
        ("a.avs", vendor_slides.write_argos, "argos", "tiff resolution"),
        ("a.vmu", vendor_slides.write_vmu, "hamamatsu", "slide"),
    ],
)
def test_pyramids_of_each_vendor_are_the_pixels_written(tmp_path, name, write, vendor, source):
    path = write(tmp_path / name, PYRAMID)
    assert find_slides([tmp_path]) == [path]
    _check(path, PYRAMID, vendor=vendor, source=source)


@pytest.mark.parametrize(
    ("name", "write", "vendor"),
    [
        ("a.mrxs", vendor_slides.write_mirax, "mirax"),
        ("a.czi", vendor_slides.write_czi, "zeiss"),
    ],
)
def test_pyramids_of_halves_are_the_pixels_written(tmp_path, name, write, vendor):
    path = write(tmp_path / name, HALVES)
    assert find_slides([tmp_path]) == [path]
    _check(path, HALVES, vendor=vendor)


@pytest.mark.parametrize("compression", ["zlib", "lzw", None])
def test_a_plain_tiled_tiff_is_the_pixels_written(tmp_path, compression):
    scale = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    path = vendor_slides.write_tiff(tmp_path / "a.tif", PYRAMID, compression=compression, **scale)
    _check(path, PYRAMID, vendor="generic-tiff", source="tiff resolution")


def test_an_aperio_slide_of_jpeg_2000_is_the_pixels_written(tmp_path):
    path = vendor_slides.write_tiff(
        tmp_path / "a.svs",
        PYRAMID[:1],
        description=APERIO,
        compression=33005,
        compressionargs={"level": 0, "codecformat": "j2k", "reversible": True, "mct": False},
    )
    _check(path, PYRAMID[:1], vendor="aperio")


def test_an_aperio_slide_of_jpeg_is_what_the_encoder_kept(tmp_path):
    smooth = np.linspace(40, 220, 192 * 256 * 3).reshape(192, 256, 3).astype(np.uint8)
    path = vendor_slides.write_tiff(
        tmp_path / "a.svs",
        [smooth],
        description=APERIO,
        compression="jpeg",
        compressionargs={"level": 95},
    )
    with open_slide(path) as slide:
        assert slide.vendor == "aperio"
        whole = slide.read_region((0, 0), level=0, size_xy=(256, 192))
    assert np.abs(whole.astype(int) - smooth).max() <= 8


def test_a_leica_slide_lies_where_its_collection_puts_it(tmp_path):
    path = vendor_slides.write_scn(tmp_path / "a.scn", PYRAMID)
    _check(path, PYRAMID, vendor="leica", source="tiff resolution", offset_xy=(32, 48))
    with open_slide(path) as slide:
        assert slide.dimensions_xy == (320, 256)
        assert (slide.read_region((0, 0), level=0, size_xy=(32, 256)) == 255).all()


def test_a_ventana_slide_is_joined_where_its_tiles_overlap(tmp_path):
    (image,) = noise_levels((120, 120))
    path = vendor_slides.write_ventana(tmp_path / "a.bif", image)
    _check(path, [image], vendor="ventana")
    with open_slide(path) as slide:
        assert slide.unread_images == ("macro",)


def test_a_hamamatsu_vms_slide_is_what_its_jpegs_hold(tmp_path):
    path = vendor_slides.write_vms(tmp_path / "a.vms", PYRAMID)
    assert find_slides([tmp_path]) == [path]
    with Image.open(tmp_path / "image.jpg") as image, open_slide(path) as slide:
        whole = slide.read_region((0, 0), level=0, size_xy=(256, 192))
        np.testing.assert_array_equal(whole, np.array(image))
        # OpenSlide adds levels that it decodes at a half, a quarter and an eighth.
        assert slide.level_dimensions_xy[:3] == ((256, 192), (128, 96), (64, 48))
        assert (slide.vendor, slide.mpp_xy) == ("hamamatsu", (0.5, 0.5))


def test_real_slides_of_ndpi_and_dicom_are_read_as_openslide_reads_them(shared_data):
    for name in ("fluorescence_dapi.ndpi", "bone_marrow_jpeg.dcm"):
        path = shared_data / "slides" / name
        with open_slide(path) as slide, openslide.OpenSlide(path) as reference:
            region = slide.read_region((101, 203), level=0, size_xy=(90, 70))
            expected = np.array(reference.read_region((101, 203), 0, (90, 70)))
        assert (expected[:, :, 3] == 255).all()
        np.testing.assert_array_equal(region, expected[:, :, :3])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"compression": 4}, "JPEG XR compression is not supported"),
        ({"compression": 1}, "JPEG compression is not supported"),
        ({"pixel_type": 1}, "Pixel type GRAY16 is not supported"),
    ],
)
def test_a_czi_that_openslide_cannot_read_says_which_it_can(tmp_path, options, reason):
    path = vendor_slides.write_czi(tmp_path / "a.czi", HALVES, **options)
    with pytest.raises(
        SlideError, match=rf"'a\.czi' is no slide .*{reason}; of CZI, OpenSlide reads RGB"
    ):
        open_slide(path)
