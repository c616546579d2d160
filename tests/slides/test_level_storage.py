import numpy as np
import pytest
import tifffile

from medsimclr.slides.level_storage import JpegFacts, LevelStorage, level_storage
from medsimclr.slides.opening import open_slide
from tests.references.ome_tiff import write_ome
from tests.references.pyramid import noise_levels, write_pyramid


def _write_jpeg(path, *, quality, subsampling=(2, 2), photometric="rgb"):
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            noise_levels((300, 200))[0],
            tile=(128, 128),
            photometric=photometric,
            compression="jpeg",
            compressionargs={"level": quality},
            subsampling=subsampling,
            metadata=None,
        )
    return path


def _storage(path):
    with open_slide(path) as slide:
        return level_storage(slide)


@pytest.mark.parametrize("quality", [1, 30, 50, 75, 80, 95, 100])
def test_quality_is_that_of_the_encoder(tmp_path, quality):
    storage = _storage(_write_jpeg(tmp_path / "a.tif", quality=quality))
    assert storage[0].jpeg.quality == quality


@pytest.mark.parametrize(
    ("factors", "name"), [((1, 1), "4:4:4"), ((2, 1), "4:2:2"), ((2, 2), "4:2:0")]
)
def test_subsampling_has_its_usual_name(tmp_path, factors, name):
    storage = _storage(_write_jpeg(tmp_path / "a.tif", quality=80, subsampling=factors))
    assert storage == {
        0: LevelStorage(
            compression="JPEG",
            tile_xy=(128, 128),
            jpeg=JpegFacts(colour_space="YCbCr", subsampling=name, quality=80),
        )
    }


def test_levels_without_jpeg_say_how_they_are_compressed(tmp_path):
    levels = noise_levels((256, 208), (64, 52))
    deflated = LevelStorage(compression="adobe deflate", tile_xy=(64, 64))
    assert _storage(write_pyramid(tmp_path / "a.tif", levels)) == {0: deflated, 1: deflated}
    assert _storage(write_ome(tmp_path / "a.ome.tif", levels)) == {0: deflated, 1: deflated}


def test_a_plain_image_is_named_by_its_format(tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "a.png")
    assert _storage(tmp_path / "a.png") == {0: LevelStorage(compression="PNG", tile_xy=None)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "cmu_small_region.svs",
            ("JPEG", (240, 240), JpegFacts(colour_space="RGB", subsampling="4:4:4", quality=30)),
        ),
        ("tcga-cr-7395-01a-01-ts1.svs", ("JPEG 2000", (256, 256), None)),
        ("bone_marrow_jpeg.dcm", ("JPEG", None, None)),
        ("camelyon_overview_jpeg2000.dcm", ("JPEG 2000", None, None)),
    ],
)
def test_real_slides_are_stored_as_their_scanners_stored_them(shared_data, name, expected):
    found = _storage(shared_data / "slides" / name)[0]
    assert (found.compression, found.tile_xy, found.jpeg) == expected
