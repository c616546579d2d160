import contextlib
import errno

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from medsimclr.errors import SlideError, UnsafeInputError
from medsimclr.slides import ome_tiff_slide
from medsimclr.slides.ome_tiff_slide import OmeTiffSlide, is_ome_tiff
from medsimclr.slides.opening import open_slide
from tests.references.area_average import area_average_loops
from tests.references.ome_tiff import OME_HEAD, write_described, write_ome
from tests.references.pyramid import noise_levels, write_pyramid
from tests.slides.whole_slide import thumbnail_of

LEVELS = noise_levels((300, 210), (150, 105), (75, 52))
TWO_SIZES = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.26}


def _pixels(width, height, *, channels="", size_c=3, kind="uint8", z=1, more=""):
    return (
        f'<Pixels ID="P" DimensionOrder="XYCZT" Type="{kind}" SizeX="{width}" SizeY="{height}" '
        f'SizeC="{size_c}" SizeZ="{z}" SizeT="1" {more}>{channels}'
    )


def _image(width, height, ifd=0, name="", **options):
    body = _pixels(width, height, **options)
    return (
        f'<Image ID="I" Name="{name}">{body}<TiffData IFD="{ifd}" PlaneCount="1"/></Pixels></Image>'
    )


RGB_CHANNEL = '<Channel ID="C" SamplesPerPixel="3"/>'


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"planar": True},
        {"tile": None, "rowsperstrip": 17},
        {"tile": None, "rowsperstrip": 17, "planar": True},
        {"compression": None},
        {"compression": "lzw", "predictor": True},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"tile": (128, 256)},
    ],
)
def test_regions_of_every_level_are_the_pixels_written(tmp_path, options):
    if "bigtiff" in options or "byteorder" in options:
        path = tmp_path / "a.ome.tif"
        with tifffile.TiffWriter(path, ome=True, **options) as tiff:
            common = {"photometric": "rgb", "tile": (64, 64)}
            tiff.write(LEVELS[0], subifds=2, metadata={"axes": "YXS"}, **common)
            for level in LEVELS[1:]:
                tiff.write(level, subfiletype=1, metadata=None, **common)
    else:
        path = write_ome(tmp_path / "a.ome.tif", LEVELS, **options)
    assert is_ome_tiff(path)
    with OmeTiffSlide(path) as slide:
        assert slide.vendor == "ome-tiff"
        assert slide.level_dimensions_xy == ((300, 210), (150, 105), (75, 52))
        assert slide.level_downsamples == (1.0, 2.0, (4.0 + 210 / 52) / 2)
        for level, pixels_HW3 in enumerate(LEVELS):
            height, width = pixels_HW3.shape[:2]
            whole = slide.read_region((0, 0), level=level, size_xy=(width, height))
            np.testing.assert_array_equal(whole, pixels_HW3)
            for x, y in ((0, 0), (1, 63), (37, 20), (64, 11)):
                corner = (
                    round(x * slide.level_downsamples[level]),
                    round(y * slide.level_downsamples[level]),
                )
                region = slide.read_region(corner, level=level, size_xy=(11, 7))
                expected = np.full((7, 11, 3), 255, np.uint8)
                inside = pixels_HW3[y : y + 7, x : x + 11]
                expected[: inside.shape[0], : inside.shape[1]] = inside
                np.testing.assert_array_equal(region, expected)


def test_jpeg_tiles_are_those_that_openslide_decodes(tmp_path):
    import openslide

    smooth = np.linspace(40, 220, 256 * 192 * 3).reshape(192, 256, 3).astype(np.uint8)
    path = write_ome(tmp_path / "a.ome.tif", [smooth], compression="jpeg", subsampling=(2, 2))
    with OmeTiffSlide(path) as slide, openslide.OpenSlide(path) as reference:
        region = slide.read_region((13, 21), level=0, size_xy=(200, 150))
        expected = np.array(reference.read_region((13, 21), 0, (200, 150)))[:, :, :3]
    np.testing.assert_array_equal(region, expected)
    assert np.abs(region.astype(int) - smooth[21:171, 13:213]).mean() < 6


@pytest.mark.parametrize(("x", "y"), [(-5, -3), (295, 205), (400, 0), (0, -100)])
def test_beyond_the_borders_it_is_white(tmp_path, x, y):
    padded = np.full((610, 700, 3), 255, np.uint8)
    padded[200:410, 200:500] = LEVELS[0]
    with OmeTiffSlide(write_ome(tmp_path / "a.ome.tif", LEVELS)) as slide:
        region = slide.read_region((x, y), level=0, size_xy=(20, 15))
    np.testing.assert_array_equal(region, padded[200 + y : 215 + y, 200 + x : 220 + x])


def test_levels_come_largest_first_whatever_their_order_in_the_file(tmp_path):
    path = write_ome(tmp_path / "a.ome.tif", [LEVELS[0], LEVELS[2], LEVELS[1]])
    with OmeTiffSlide(path) as slide:
        assert slide.level_dimensions_xy == ((300, 210), (150, 105), (75, 52))
        region = slide.read_region((0, 0), level=2, size_xy=(75, 52))
    np.testing.assert_array_equal(region, LEVELS[2])


def test_a_region_decodes_only_the_tiles_that_it_touches(tmp_path, monkeypatch):
    decoded = []
    decode = OmeTiffSlide._decode
    monkeypatch.setattr(
        OmeTiffSlide, "_decode", lambda self, *of: decoded.append(of[1]) or decode(self, *of)
    )
    with OmeTiffSlide(write_ome(tmp_path / "a.ome.tif", LEVELS)) as slide:
        slide.read_region((70, 70), level=0, size_xy=(50, 60))
        slide.read_region((70, 70), level=0, size_xy=(50, 60))
    assert decoded == [6, 11]  # 5 tiles of 64 px across 300: the second of two rows


def test_a_fault_of_the_disk_is_not_taken_for_another_format(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    path = write_ome(tmp_path / "a.ome.tif", LEVELS)
    monkeypatch.setattr(ome_tiff_slide.tifffile, "TiffFile", fail)
    with pytest.raises(SlideError, match=r"^reading failed: Input/output error$"):
        is_ome_tiff(path)
    with pytest.raises(SlideError, match=r"'a\.ome\.tif' is no slide .*Input/output error"):
        open_slide(path)


def test_the_cache_of_decoded_tiles_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(ome_tiff_slide, "_CACHE_BYTES", 3 * 64 * 64 * 3)
    with OmeTiffSlide(write_ome(tmp_path / "a.ome.tif", LEVELS)) as slide:
        whole = slide.read_region((0, 0), level=0, size_xy=(300, 210))
        assert len(slide._cache) == 3
        assert slide._cached_bytes == 3 * 64 * 64 * 3
    np.testing.assert_array_equal(whole, LEVELS[0])


def test_thumbnail_is_the_area_average_of_the_level_that_suffices(tmp_path):
    with OmeTiffSlide(write_ome(tmp_path / "a.ome.tif", LEVELS)) as slide:
        thumbnail = thumbnail_of(slide, max_px=100)
    expected = area_average_loops(LEVELS[1], (100, 70))
    assert np.abs(thumbnail - expected).max() <= 0.501


@pytest.mark.parametrize(
    ("metadata", "mpp_xy"),
    [
        ({"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.26}, (0.25, 0.26)),
        (
            {
                "PhysicalSizeX": 250.0,
                "PhysicalSizeXUnit": "nm",
                "PhysicalSizeY": 0.00026,
                "PhysicalSizeYUnit": "mm",
            },
            (0.25, 0.26),
        ),
        ({**TWO_SIZES, "PhysicalSizeXUnit": "\u00b5m", "PhysicalSizeYUnit": "um"}, (0.25, 0.26)),
    ],
)
def test_scale_comes_from_the_physical_size(tmp_path, metadata, mpp_xy):
    path = write_ome(
        tmp_path / "a.ome.tif",
        LEVELS,
        metadata=metadata,
        resolution=(1e4, 1e4),
        resolutionunit="CENTIMETER",
    )
    with OmeTiffSlide(path) as slide:
        assert slide.mpp_xy == pytest.approx(mpp_xy)
        assert slide.mpp_source == "ome-xml"


def test_scale_falls_back_to_the_tiff_resolution(tmp_path):
    for name, resolution, expected in (
        ("scanner", (20_000, 20_000), ((0.5, 0.5), "tiff resolution")),
        ("printer", (28.35, 28.35), (None, None)),
    ):
        path = write_ome(
            tmp_path / f"{name}.ome.tif",
            LEVELS,
            resolution=resolution,
            resolutionunit="CENTIMETER",
        )
        with OmeTiffSlide(path) as slide:
            assert (slide.mpp_xy, slide.mpp_source) == expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('PhysicalSizeX="0" PhysicalSizeY="0"', "(0.0, 0.0)"),
        ('PhysicalSizeX="-1" PhysicalSizeY="0.5"', "(-1.0, 0.5)"),
        ('PhysicalSizeX="inf" PhysicalSizeY="0.5"', "(inf, 0.5)"),
        ('PhysicalSizeX="fine" PhysicalSizeY="0.5"', "(nan, 0.5)"),
        ('PhysicalSizeX="0.5"', "(0.5, nan)"),
        ('PhysicalSizeX="0.5" PhysicalSizeXUnit="pixel" PhysicalSizeY="0.5"', "None"),
    ],
)
def test_senseless_sizes_are_passed_on_to_be_refused(tmp_path, more, expected):
    xml = f"{OME_HEAD}{_image(300, 210, channels=RGB_CHANNEL, more=more)}</OME>"
    with OmeTiffSlide(write_described(tmp_path / "a.tif", [LEVELS[0]], xml)) as slide:
        assert repr(slide.mpp_xy) == expected


def test_label_and_macro_are_passed_over(tmp_path):
    images = (
        _image(75, 52, 0, "label image", channels=RGB_CHANNEL)
        + _image(300, 210, 1, "slide 7", channels=RGB_CHANNEL)
        + _image(150, 105, 2, "Macro", channels=RGB_CHANNEL)
    )
    path = write_described(
        tmp_path / "a.tif", [LEVELS[2], LEVELS[0], LEVELS[1]], f"{OME_HEAD}{images}</OME>"
    )
    with OmeTiffSlide(path) as slide:
        assert slide.level_dimensions_xy == ((300, 210),)
        region = slide.read_region((0, 0), level=0, size_xy=(300, 210))
    np.testing.assert_array_equal(region, LEVELS[0])


def _planes_xml(*channels):
    blocks = "".join(f'<TiffData IFD="{2 - c}" FirstC="{c}" PlaneCount="1"/>' for c in (1, 0, 2))
    body = _pixels(300, 210, channels="".join(channels))
    return f"{OME_HEAD}<Image>{body}{blocks}</Pixels></Image></OME>"


def test_a_directory_for_each_colour_is_joined_by_what_the_xml_says(tmp_path):
    channels = [f'<Channel Name="{name}"/>' for name in ("Red", "Green", "Blue")]
    planes = [np.ascontiguousarray(LEVELS[0][:, :, c]) for c in (2, 1, 0)]
    path = write_described(tmp_path / "a.tif", planes, _planes_xml(*channels))
    with OmeTiffSlide(path) as slide:
        region = slide.read_region((5, 9), level=0, size_xy=(100, 150))
    np.testing.assert_array_equal(region, LEVELS[0][9:159, 5:105])


def test_three_dyes_are_not_taken_for_red_green_and_blue(tmp_path):
    channels = [f'<Channel Name="{name}"/>' for name in ("DAPI", "FITC", "Cy3")]
    planes = [np.ascontiguousarray(LEVELS[0][:, :, c]) for c in range(3)]
    path = write_described(tmp_path / "a.tif", planes, _planes_xml(*channels))
    with pytest.raises(SlideError, match="not said to be red, green and blue"):
        OmeTiffSlide(path)


def test_one_grey_channel_becomes_three_equal_ones(tmp_path):
    grey = np.ascontiguousarray(LEVELS[0][:, :, 0])
    xml = f"{OME_HEAD}{_image(300, 210, size_c=1)}</OME>"
    with OmeTiffSlide(write_described(tmp_path / "a.tif", [grey], xml)) as slide:
        region = slide.read_region((0, 0), level=0, size_xy=(300, 210))
    np.testing.assert_array_equal(region, np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (_image(300, 210, channels=RGB_CHANNEL, kind="uint16"), "8 bits per channel.*'uint16'"),
        (_image(300, 210, size_c=5), "1 or 3 channels, got 5"),
        (_image(300, 210, channels=RGB_CHANNEL, z=4), "one focal plane .*, got 4"),
        (_image(300, 210, channels=RGB_CHANNEL) * 2, "one image beside label and macro, got 2"),
        (_image(300, 210, name="macro"), "one image beside label and macro, got 0"),
        (_image(301, 210, channels=RGB_CHANNEL), "OME-XML says 301 x 210 pixels, .* 300 x 210"),
        (_image(300, 210, size_c=1), "says 1 channels, its TIFF directory 3 samples"),
        (_image(300, 210, 7, channels=RGB_CHANNEL), "TIFF directories are damaged"),
        (_image(300, "many", channels=RGB_CHANNEL), "SizeY .* whole number, got 'many'"),
        ("<Image/>", "names no image"),
        ("<Image>", "OME-XML is damaged"),
        (
            _image(300, 210, channels=RGB_CHANNEL).replace(
                '"1"/></Pixels>',
                '"1"><UUID>a</UUID></TiffData><TiffData IFD="0"><UUID>b</UUID></TiffData></Pixels>',
            ),
            "lie in other files",
        ),
    ],
)
def test_what_is_no_slide_is_refused_with_its_reason(tmp_path, images, reason):
    path = write_described(tmp_path / "a.tif", [LEVELS[0]], f"{OME_HEAD}{images}</OME>")
    with pytest.raises(SlideError, match=reason):
        OmeTiffSlide(path)


def test_sixteen_bits_under_an_xml_of_eight_are_refused(tmp_path):
    xml = f"{OME_HEAD}{_image(300, 210, channels=RGB_CHANNEL)}</OME>"
    path = write_described(tmp_path / "a.tif", [LEVELS[0].astype(np.uint16)], xml)
    with pytest.raises(SlideError, match="must be 8-bit and flat, got uint16"):
        OmeTiffSlide(path)


@pytest.mark.parametrize(
    "xml",
    [
        '<!DOCTYPE OME [<!ENTITY a "aaaa">]><OME>&a;</OME>',
        '<?xml version="1.0"?><!doctype x SYSTEM "file:///etc/hostname"><OME>x</OME>',
        f"{OME_HEAD}{'<a/>' * 100_001}</OME>",
        f"{OME_HEAD}{' ' * (8 << 20)}</OME>",
    ],
)
def test_xml_that_could_harm_is_refused(tmp_path, xml):
    path = write_described(tmp_path / "a.tif", [LEVELS[2]], xml)
    with pytest.raises(UnsafeInputError, match="its OME-XML"):
        OmeTiffSlide(path)


def test_a_level_of_one_huge_strip_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ome_tiff_slide, "_MAX_SEGMENT_PX", 1000)
    with pytest.raises(SlideError, match=r"got 300 x 210\. Write it with tiles"):
        OmeTiffSlide(write_ome(tmp_path / "a.ome.tif", LEVELS, tile=None, rowsperstrip=210))


def test_a_tile_that_is_left_out_is_white_and_a_lost_one_is_an_error(tmp_path):
    path = write_ome(tmp_path / "a.ome.tif", LEVELS[:1])
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages.first.tags
        counts, offsets = tags["TileByteCounts"].valueoffset, tags["TileOffsets"]
    data = bytearray(path.read_bytes())
    data[counts : counts + 4] = bytes(4)
    last = offsets.valueoffset + 4 * (offsets.count - 1)
    data[last : last + 4] = (len(data) - 3).to_bytes(4, "little")
    path.write_bytes(data)
    with OmeTiffSlide(path) as slide:
        region = slide.read_region((0, 0), level=0, size_xy=(70, 64))
        assert (region[:, :64] == 255).all()
        np.testing.assert_array_equal(region[:, 64:], LEVELS[0][:64, 64:70])
        with pytest.raises(SlideError, match=r"of level 0 cannot be decoded \(the file ends"):
            slide.read_region((280, 200), level=0, size_xy=(20, 10))


def test_other_tiffs_and_files_are_no_ome_tiffs(tmp_path, shared_data):
    (tmp_path / "x.tif").write_bytes(b"II*\0" + bytes(3))
    (tmp_path / "y.tif").write_bytes(b"")
    write_pyramid(tmp_path / "z.tif", LEVELS)
    for path in (*tmp_path.iterdir(), *(shared_data / "slides").iterdir()):
        assert not is_ome_tiff(path)


@settings(max_examples=150, deadline=None)
@given(
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=4),
    keep=st.floats(0, 1),
)
def test_damaged_files_open_or_raise_our_errors(tmp_path_factory, flips, keep):
    folder = tmp_path_factory.mktemp("damaged")
    path = write_ome(folder / "a.ome.tif", noise_levels((70, 66), (35, 33)))
    data = bytearray(path.read_bytes())
    for place, mask in flips:
        data[int(place * min(len(data), 2000))] ^= mask
    path.write_bytes(data[: int(keep * 3 * len(data)) + 1])
    is_ome_tiff(path)
    with contextlib.suppress(SlideError, UnsafeInputError), OmeTiffSlide(path) as slide:
        assert slide.read_region((0, 0), level=0, size_xy=(70, 66)).shape == (66, 70, 3)
