import os
import shutil
import string
import sys
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medsimclr.errors import ConfigError, NoInputError, SlideError, UnsafeInputError
from medsimclr.slides.image_slide import ImageSlide
from medsimclr.slides.ome_tiff_slide import OmeTiffSlide
from medsimclr.slides.opening import check_reader, find_slides, open_slide, slide_id_of
from medsimclr.slides.openslide_slide import OpenSlideSlide
from tests.references.ome_tiff import write_described, write_ome
from tests.references.pyramid import noise_levels, write_pyramid
from tests.slides.whole_slide import thumbnail_of


def _touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_find_slides_searches_folders_and_takes_files_as_given(tmp_path):
    found = [tmp_path / "x" / "b.svs", tmp_path / "x" / "deep" / "er" / "A.TIF"]
    skipped = [
        tmp_path / "x" / ".hidden.svs",
        tmp_path / "x" / ".cache" / "c.svs",
        tmp_path / "x" / "notes.txt",
    ]
    given_file = tmp_path / "given.bin"
    _touch(*found, *skipped, given_file)
    assert find_slides([tmp_path / "x", given_file]) == sorted([*found, given_file])


@pytest.mark.parametrize(
    "suffix",
    "svs tif tiff ndpi vms vmu scn mrxs bif svslide dcm czi avs ome.tif ome.tiff jpg jpeg png "
    "bmp SVS".split(),
)
def test_find_slides_knows_every_format(tmp_path, suffix):
    _touch(tmp_path / f"a.{suffix}")
    assert find_slides([tmp_path]) == [tmp_path / f"a.{suffix}"]


def test_find_slides_lists_a_file_once_however_it_was_reached(tmp_path):
    _touch(tmp_path / "x" / "b.svs")
    (tmp_path / "link.svs").symlink_to(tmp_path / "x" / "b.svs")
    paths = [tmp_path / "x", tmp_path / "x" / "b.svs", tmp_path / "x" / ".." / "x", tmp_path]
    assert len(find_slides(paths)) == 1


def test_find_slides_keeps_broken_links_for_the_report(tmp_path):
    (tmp_path / "lost.svs").symlink_to(tmp_path / "nowhere.svs")
    assert find_slides([tmp_path]) == [tmp_path / "lost.svs"]
    with pytest.raises(SlideError, match=r"'lost\.svs' cannot be opened: it does not exist"):
        open_slide(tmp_path / "lost.svs")


@pytest.mark.parametrize(
    ("first", "second"),
    [("x/a.svs", "y/a.tif"), ("x/A.svs", "y/a.svs"), ("x/a b.svs", "y/a_b.svs")],
)
def test_find_slides_refuses_two_slides_of_one_id(tmp_path, first, second):
    _touch(tmp_path / first, tmp_path / second)
    with pytest.raises(ConfigError, match=rf"{first}' and .*{second}' would both be slide '"):
        find_slides([tmp_path])


def test_find_slides_says_what_it_looked_for(tmp_path):
    _touch(tmp_path / "notes.txt")
    with pytest.raises(NoInputError, match=r"no slide found in .*looked for .*\.ndpi, .*\.svs"):
        find_slides([tmp_path])
    with pytest.raises(NoInputError, match="no slide found in no path"):
        find_slides([])


def test_find_slides_refuses_a_path_that_does_not_exist(tmp_path):
    with pytest.raises(NoInputError, match=r"absent' does not exist; expected a slide"):
        find_slides([tmp_path / "absent"])


def test_find_slides_counts_the_levels_of_a_dicom_series_as_one_slide(tmp_path, shared_data):
    for name in ("level_0.dcm", "level_1.dcm", "x/level_2.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(shared_data / "slides" / "bone_marrow_jpeg.dcm", tmp_path / name)
    shutil.copy(shared_data / "slides" / "camelyon_overview_jpeg2000.dcm", tmp_path / "other.dcm")
    assert find_slides([tmp_path]) == [
        tmp_path / "level_0.dcm",
        tmp_path / "other.dcm",
        tmp_path / "x" / "level_2.dcm",
    ]


def test_find_slides_passes_over_the_parts_of_a_hamamatsu_slide(tmp_path):
    _touch(tmp_path / "a.vms", tmp_path / "a_00.jpg", tmp_path / "sub" / "photo.jpg")
    assert find_slides([tmp_path]) == [tmp_path / "a.vms", tmp_path / "sub" / "photo.jpg"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("TCGA-CR-7395-01A-01-TS1.svs", "TCGA-CR-7395-01A-01-TS1"),
        ("TCGA-CR-7395.f00d-cafe.svs", "TCGA-CR-7395.f00d-cafe"),
        ("my slide (1).tif", "my_slide__1_"),
        ("Schnitt_ä.tif", "Schnitt__"),
        ("...svs", "_."),
        ("x.partial.svs", "x_partial"),
        ("slide 7.ome.tif", "slide_7"),
        ("A.OME.TIFF", "A"),
        (".ome.tif", "_"),
    ],
)
def test_slide_id_keeps_what_it_may(name, expected):
    assert slide_id_of(Path("folder") / name) == expected


def test_slide_ids_of_long_names_that_differ_at_the_end_differ():
    one, two = (slide_id_of(Path("x" * 100 + end + ".svs")) for end in "12")
    assert len(one) == len(two) == 64
    assert one != two


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_slide_id_is_always_a_safe_name(name):
    slide_id = slide_id_of(Path("folder") / name)
    assert 1 <= len(slide_id) <= 64
    assert set(slide_id) <= set(string.ascii_letters + string.digits + "._-")
    assert not slide_id.startswith(".")


def test_open_slide_goes_by_content_and_not_by_name(tmp_path):
    levels = noise_levels((128, 128))
    write_pyramid(tmp_path / "tiled.jpg", levels)
    Image.fromarray(levels[0]).save(tmp_path / "plain.tif", format="PNG")
    with open_slide(tmp_path / "tiled.jpg") as tiled, open_slide(tmp_path / "plain.tif") as plain:
        assert isinstance(tiled, OpenSlideSlide)
        assert isinstance(plain, ImageSlide)
        for slide in (tiled, plain):
            region = slide.read_region((5, 9), level=0, size_xy=(30, 20))
            np.testing.assert_array_equal(region, levels[0][9:29, 5:35])


def test_open_slide_prefers_our_reader_where_the_description_is_ome_xml(tmp_path):
    levels = noise_levels((200, 150), (100, 75))
    path = write_ome(tmp_path / "named_otherwise.svs", levels, metadata={"PhysicalSizeX": 0.5})
    with openslide.OpenSlide(path) as generic:
        assert generic.level_count == 1
    with open_slide(path) as slide:
        assert isinstance(slide, OmeTiffSlide)
        assert slide.level_dimensions_xy == ((200, 150), (100, 75))
    with open_slide(path, reader="openslide") as slide:
        assert isinstance(slide, OpenSlideSlide)
        assert slide.vendor == "generic-tiff"


def test_open_slide_says_why_an_ome_tiff_is_refused_and_never_shows_its_first_plane(tmp_path):
    tifffile.imwrite(tmp_path / "stack.ome.tif", np.zeros((5, 64, 64), np.uint8), ome=True)
    with pytest.raises(
        SlideError,
        match=r"^'stack\.ome\.tif' is no slide that our reader of OME-TIFF can read \(.+, got 5\)",
    ):
        open_slide(tmp_path / "stack.ome.tif")
    xml = "<!DOCTYPE OME []><OME></OME>"
    write_described(tmp_path / "bomb.tif", noise_levels((64, 64)), xml)
    with pytest.raises(UnsafeInputError, match=r"'bomb\.tif' is refused: its OME-XML declares"):
        open_slide(tmp_path / "bomb.tif")


def test_open_slide_by_openslide_alone_reads_no_plain_image(tmp_path):
    Image.fromarray(noise_levels((64, 64))[0]).save(tmp_path / "a.png")
    with pytest.raises(SlideError, match=r"'a\.png' is no slide .*knows no such format"):
        open_slide(tmp_path / "a.png", reader="openslide")


@pytest.mark.parametrize("reader", ["auto", "openslide", "monai:openslide", "monai:tifffile"])
def test_check_reader_passes_what_is_installed(reader):
    check_reader(reader)


def test_check_reader_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cucim", None)
    with pytest.raises(ConfigError, match=r"monai:cucim needs .*pip install cucim-cu12"):
        check_reader("monai:cucim")
    monkeypatch.setitem(sys.modules, "monai.data.wsi_reader", None)
    with pytest.raises(ConfigError, match=r"monai:tifffile needs .*pip install monai,"):
        check_reader("monai:tifffile")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_open_slide_refuses_what_is_no_regular_file(tmp_path, make):
    make(tmp_path / "x.svs")
    with pytest.raises(SlideError, match=r"'x\.svs' cannot be opened: it is no regular file"):
        open_slide(tmp_path / "x.svs")


def test_open_slide_refuses_a_pipe_beside_a_dicom_slide(tmp_path, shared_data):
    shutil.copy(shared_data / "slides" / "bone_marrow_jpeg.dcm", tmp_path / "a.dcm")
    open_slide(tmp_path / "a.dcm").close()
    os.mkfifo(tmp_path / "trap")
    with pytest.raises(SlideError, match=r"'a\.dcm' is no slide .*'trap' beside it is a pipe"):
        open_slide(tmp_path / "a.dcm")


def test_open_slide_refuses_a_pipe_in_the_folder_of_a_mirax_slide(tmp_path):
    _touch(tmp_path / "a.mrxs", tmp_path / "a" / "Slidedat.ini")
    os.mkfifo(tmp_path / "a" / "Data0000.dat")
    with pytest.raises(SlideError, match=r"'Data0000\.dat' beside it is a pipe"):
        open_slide(tmp_path / "a.mrxs")


@pytest.mark.parametrize("content", [b"", b"hello", b"II*\0\x08\0\0\0", b"\x89PNG\r\n\x1a\n"])
@pytest.mark.parametrize("name", ["x.svs", "x.tif", "x.png", "x.dcm"])
def test_open_slide_says_what_cannot_be_read(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        SlideError,
        match=rf"^'{name}' is no slide that OpenSlide or Pillow can read \(.+\); copy it",
    ):
        open_slide(tmp_path / name)


def test_open_slide_never_shows_the_macro_image_of_a_format_it_cannot_read(tmp_path, shared_data):
    with pytest.raises(SlideError, match="OpenSlide knows no such format"):
        open_slide(shared_data / "broken" / "vsi-ets-test-jpg2k.vsi")
    Image.fromarray(noise_levels((64, 64))[0]).save(tmp_path / "a.mrxs", format="JPEG")
    with pytest.raises(SlideError, match=r"'a\.mrxs' is no slide"):
        open_slide(tmp_path / "a.mrxs")


def test_open_slide_never_hands_a_damaged_slide_to_pillow(tmp_path, shared_data):
    data = (shared_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs").read_bytes()
    path = tmp_path / "cut.tif"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SlideError, match=r"'cut\.tif' is no slide"):
        open_slide(path)


def test_open_slide_lets_the_bomb_error_through(tmp_path, monkeypatch):
    Image.fromarray(noise_levels((64, 64))[0]).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnsafeInputError, match="more pixels than a plain image may have"):
        open_slide(tmp_path / "a.png")


def test_every_real_slide_opens(shared_data):
    slides = find_slides([shared_data / "slides"])
    assert len(slides) == 7
    for path in slides:
        with open_slide(path) as slide:
            thumbnail = thumbnail_of(slide, max_px=200)
        assert max(thumbnail.shape) == 200
        assert thumbnail.std() > 5
