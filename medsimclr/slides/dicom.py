"""Which DICOM series a file belongs to and how it is compressed, read from its header alone.

A DICOM slide is a series: one file per level in one folder, and OpenSlide opens them all, given any
one. Without the series UID, a folder of five files would count as five slides of the same pixels.
Source: DICOM PS3.5 section 7 (data elements) and PS3.10 section 7 (file format).
"""

import struct
from pathlib import Path

__all__ = ["is_dicom", "series_uid", "transfer_syntax"]

_PREAMBLE = 132
_SERIES_INSTANCE_UID = (0x0020, 0x000E)
_TRANSFER_SYNTAX_UID = (0x0002, 0x0010)
# The UID stands ahead of pixel data and ICC profile; real headers reach it within some kilobytes.
_HEADER_BYTES = 1 << 18
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT"})
_UNDEFINED = 0xFFFFFFFF
_DELIMITERS = frozenset({(0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)})


def is_dicom(path: Path) -> bool:
    """Return whether a regular file carries the DICOM prefix."""
    with path.open("rb") as file:
        return file.read(_PREAMBLE)[-4:] == b"DICM"


def series_uid(path: Path) -> str | None:
    """Return the Series Instance UID, or None where the header holds none that we can reach.

    Only explicit little-endian headers are understood, the one form that compressed slides have.
    """
    return _read_uid(path, _SERIES_INSTANCE_UID)


def transfer_syntax(path: Path) -> str | None:
    """Return the UID that says how pixels are encoded; None where the header holds none."""
    return _read_uid(path, _TRANSFER_SYNTAX_UID)


def _read_uid(path: Path, wanted: tuple[int, int]) -> str | None:
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if header[_PREAMBLE - 4 : _PREAMBLE] != b"DICM":
        return None
    try:
        return _find_uid(header, wanted)
    except struct.error:  # the header is cut off, or longer than we look
        return None


def _find_uid(header: bytes, wanted: tuple[int, int]) -> str | None:
    offset = _PREAMBLE
    depth = 0  # within sequences and items of undefined length, which are walked, not skipped
    while True:
        tag = struct.unpack_from("<HH", header, offset)
        if depth == 0 and tag > wanted and tag[0] != 0xFFFE:
            return None
        if tag[0] == 0xFFFE:  # item, end of item, end of sequence: no value representation
            (length,) = struct.unpack_from("<I", header, offset + 4)
            offset += 8
            if tag in _DELIMITERS:
                depth = max(0, depth - 1)
                continue
        elif header[offset + 4 : offset + 6] in _LONG_VRS:
            (length,) = struct.unpack_from("<I", header, offset + 8)
            offset += 12
        else:
            (length,) = struct.unpack_from("<H", header, offset + 6)
            offset += 8
        if length == _UNDEFINED:
            depth += 1
            continue
        if depth == 0 and tag == wanted:
            (uid,) = struct.unpack_from(f"{length}s", header, offset)
            return uid.decode("ascii", "replace").strip("\0 ") or None
        offset += length
