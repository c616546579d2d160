import numpy as np
import openslide
import pytest
import tifffile
from big_slide import build_slide

SIZE_PX = 4096


@pytest.fixture(scope="module")
def slide_path(shared_data, tmp_path_factory):
    path = tmp_path_factory.mktemp("slide") / "big.svs"
    build_slide(path, size_px=SIZE_PX, n_levels=3, tissue=shared_data / "tiles" / "lc25000")
    return path


def test_openslide_sees_an_aperio_pyramid(slide_path):
    with openslide.OpenSlide(slide_path) as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert float(slide.properties["openslide.mpp-x"]) == 0.5
        assert slide.properties["openslide.objective-power"] == "20"
        assert slide.level_dimensions == tuple((SIZE_PX // factor,) * 2 for factor in (1, 4, 16))


def test_half_of_it_is_tissue(slide_path):
    with openslide.OpenSlide(slide_path) as slide:
        overview_HW = np.asarray(slide.read_region((0, 0), 2, (256, 256)).convert("L"))
    assert 0.4 < (overview_HW < 236).mean() < 0.55


def test_levels_show_the_same(slide_path):
    with openslide.OpenSlide(slide_path) as slide:
        fine = slide.read_region((0, 0), 0, (SIZE_PX, SIZE_PX)).convert("RGB").reduce(16)
        coarse = slide.read_region((0, 0), 2, (256, 256)).convert("RGB")
    difference_HW3 = np.asarray(fine, np.float32) - np.asarray(coarse, np.float32)
    assert abs(difference_HW3.mean()) < 2
    assert abs(difference_HW3).mean() < 8


def test_tiles_share_their_tables(slide_path):
    with tifffile.TiffFile(slide_path) as tiff:
        page = tiff.pages[0]
        assert page.tags["YCbCrSubSampling"].value == (2, 2)
        file = tiff.filehandle
        file.seek(page.dataoffsets[0])
        stream = file.read(page.databytecounts[0])
        tables = page.jpegtables
    assert b"\xff\xdb" in tables
    assert b"\xff\xc4" in tables
    assert b"\xff\xdb" not in stream
    assert b"\xff\xc4" not in stream
