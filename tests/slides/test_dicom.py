import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsimclr.slides.dicom import is_dicom, series_uid, transfer_syntax

PREFIX = bytes(128) + b"DICM"
UID = struct.pack("<HH2sH", 0x0020, 0x000E, b"UI", 6) + b"1.2.3\0"


def _element(group, number, vr, value):
    if vr in (b"SQ", b"OB", b"UN"):
        return struct.pack("<HH2sHI", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def _undefined(group, number, content):
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    end_item = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    head = struct.pack("<HH2sHI", group, number, b"SQ", 0, 0xFFFFFFFF)
    return head + item + content + end_item + end


REFERENCED = _element(0x0020, 0x000E, b"UI", b"9.9.9\0")


def _write(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "before",
    [
        b"",
        _element(0x0008, 0x0008, b"CS", b"ORIGINAL"),
        _element(0x0008, 0x1115, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 14) + b"9" * 14),
        _undefined(0x0008, 0x1115, REFERENCED),
        _undefined(0x0008, 0x1115, _undefined(0x0040, 0x0555, b"") + REFERENCED),
    ],
)
def test_series_uid_is_that_of_the_file_and_not_of_a_referenced_series(tmp_path, before):
    assert series_uid(_write(tmp_path / "a.dcm", PREFIX + before + UID)) == "1.2.3"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"DICM",
        PREFIX,
        PREFIX + UID[:9],
        bytes(132) + UID,
        PREFIX + _element(0x0028, 0x0010, b"US", b"\0\1") + UID,
    ],
)
def test_series_uid_is_none_where_the_header_holds_none(tmp_path, data):
    assert series_uid(_write(tmp_path / "a.dcm", data)) is None


def test_is_dicom_goes_by_the_prefix(tmp_path):
    assert is_dicom(_write(tmp_path / "a", PREFIX))
    assert not is_dicom(_write(tmp_path / "b.dcm", b"II*\0"))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_series_uid_of_any_bytes_is_text_or_none(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "a.dcm"
    uid = series_uid(_write(path, PREFIX + data))
    assert uid is None or isinstance(uid, str)


def test_real_slides_have_different_series(shared_data):
    uids = [
        series_uid(shared_data / name)
        for name in (
            "slides/bone_marrow_jpeg.dcm",
            "slides/camelyon_overview_jpeg2000.dcm",
            "broken/sm_image.dcm",
        )
    ]
    assert uids[0] == "1.2.276.0.7230010.3.1.3.296485632.4444.1646683084.97878"
    assert len({*uids, None}) == 4


def test_transfer_syntax_says_how_real_slides_are_compressed(tmp_path, shared_data):
    slides = shared_data / "slides"
    assert transfer_syntax(slides / "bone_marrow_jpeg.dcm") == "1.2.840.10008.1.2.4.50"
    jpeg2000 = transfer_syntax(slides / "camelyon_overview_jpeg2000.dcm")
    assert jpeg2000 in ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
    assert transfer_syntax(_write(tmp_path / "a.dcm", PREFIX + UID)) is None
