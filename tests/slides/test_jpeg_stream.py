import io

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medsimclr.slides.jpeg_stream import WholeStreams, read_head
from tests.slides.jpeg_slide import jpeg_with_metadata, tissue

_SECRET = "PATIENT-NAME-0815"


def _streams(*, colour="YCBCR", tables=None, size=(32, 24)):
    return WholeStreams(tables=tables, colour_space=colour, tile_xy=size)


@pytest.fixture(scope="module")
def picture():
    return tissue((32, 24))


@pytest.fixture(scope="module")
def plain(picture):
    return bytes(imagecodecs.jpeg8_encode(picture, level=80, subsampling="420"))


def test_a_head_says_size_sampling_and_where_the_scan_begins(plain):
    head = read_head(plain)
    assert head.size_xy == (32, 24)
    assert head.sampling == ((2, 2), (1, 1), (1, 1))
    assert not head.has_restarts
    assert plain[head.scan_start - 3 : head.scan_start] == b"\0\x3f\0"


def test_a_copy_shows_the_same_pixels_without_comment_and_exif(picture):
    stream = jpeg_with_metadata(picture, comment=_SECRET)
    assert stream.count(_SECRET.encode()) == 2
    copy = _streams().copyable(stream)
    assert _SECRET.encode() not in copy
    np.testing.assert_array_equal(imagecodecs.jpeg8_decode(copy), imagecodecs.jpeg8_decode(stream))


def test_the_slide_says_the_colour_space_and_not_the_stream(picture):
    as_rgb = bytes(
        imagecodecs.jpeg8_encode(picture, level=95, colorspace="RGB", outcolorspace="RGB")
    )
    shown = imagecodecs.jpeg8_decode(_streams(colour="RGB").copyable(as_rgb))
    assert np.abs(shown.astype(int) - picture).max() < 40
    wrong = imagecodecs.jpeg8_decode(_streams(colour="YCBCR").copyable(as_rgb))
    assert np.abs(wrong.astype(int) - picture).mean() > 20


def test_shared_tables_are_put_into_each_stream(plain, picture):
    head = read_head(plain)
    tables = b"\xff\xd8" + b"".join(_segments(head.segments, (0xDB, 0xC4))) + b"\xff\xd9"
    short = (
        b"\xff\xd8" + b"".join(_segments(head.segments, (0xC0, 0xDA))) + plain[head.scan_start :]
    )
    assert len(short) < len(plain) - 300
    copy = _streams(tables=tables).copyable(short)
    np.testing.assert_array_equal(imagecodecs.jpeg8_decode(copy), imagecodecs.jpeg8_decode(plain))


def _segments(segments, markers):
    offset = 0
    while offset < len(segments):
        length = 2 + int.from_bytes(segments[offset + 2 : offset + 4], "big")
        if segments[offset + 1] in markers:
            yield segments[offset : offset + length]
        offset += length


@pytest.mark.parametrize(
    "tail",
    [
        b"\xff\xfe\x00\x13" + _SECRET.encode() + b"\xff\xd9",
        b"\xff\xe1\x00\x13" + _SECRET.encode() + b"\xff\xd9",
        b"\xff\xd9" + _SECRET.encode(),
        b"\xff\xd9\0",
    ],
)
def test_a_stream_with_more_than_picture_after_its_head_is_no_copy(plain, tail):
    assert plain.endswith(b"\xff\xd9")
    stream = plain[:-2] + tail
    assert _streams().copyable(stream) is None
    shown = imagecodecs.jpeg8_decode(_streams().whole(stream))
    assert np.abs(shown.astype(int) - imagecodecs.jpeg8_decode(plain)).mean() < 1


@pytest.mark.parametrize("scan", [b"", b"\0\1\2", b"\xd9"])
def test_a_scan_without_any_marker_is_no_copy(plain, scan):
    assert _streams().copyable(plain[: read_head(plain).scan_start] + scan) is None


def test_restart_markers_are_picture_only_where_they_are_announced(picture):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=80, restart_marker_blocks=1)
    content = stream.getvalue()
    assert read_head(content).has_restarts
    copy = _streams().copyable(content)
    np.testing.assert_array_equal(imagecodecs.jpeg8_decode(copy), imagecodecs.jpeg8_decode(content))


def test_another_size_another_number_of_components_and_progressive_ones_are_refused(picture):
    grey = bytes(imagecodecs.jpeg8_encode(picture[:, :, 0].copy()))
    with pytest.raises(ValueError, match=r"expected three components of \(32, 24\), got 1 of"):
        _streams().whole(grey)
    large = bytes(imagecodecs.jpeg8_encode(tissue((40, 24))))
    with pytest.raises(ValueError, match=r"got 3 of \(40, 24\)"):
        _streams().whole(large)
    progressive = io.BytesIO()
    Image.fromarray(picture).save(progressive, "JPEG", progressive=True)
    with pytest.raises(ValueError, match="it is not sequential"):
        _streams().whole(progressive.getvalue())


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_stream_is_a_value_error_or_a_stream(plain, data):
    changed = bytearray(plain[: data.draw(st.integers(0, len(plain)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if changed:
            changed[data.draw(st.integers(0, min(len(changed), 700) - 1))] = data.draw(
                st.integers(0, 255)
            )
    try:
        copy = _streams().copyable(bytes(changed))
    except ValueError:
        return
    assert copy is None or copy.endswith(b"\xff\xd9")
