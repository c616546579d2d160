"""The JPEG streams of a slide's tiles, made whole and freed of what is no picture.

A tile of a TIFF may lack its tables (they stand once in the tag JPEGTables), does not say its
colour space (the tag PhotometricInterpretation does) and may carry comments and EXIF. Made whole it
is a stream that any decoder shows in the right colours and that names nobody.
Source: ITU T.81 Annex B (markers), TIFF Technical Note 2 (JPEGTables), libjpeg's `libjpeg.txt`
(the Adobe marker decides between RGB and YCbCr).
"""

import struct
from dataclasses import dataclass
from typing import Literal

__all__ = ["ColourSpace", "JpegHead", "WholeStreams", "read_head"]

ColourSpace = Literal["RGB", "YCBCR"]

_SOI, _EOI, _SOS, _DRI = 0xD8, 0xD9, 0xDA, 0xDD
_TABLES = (0xDB, 0xC4, _DRI)
# Baseline and extended Huffman: one pass over the picture. Progressive ones stay with OpenSlide.
_SOF_SEQUENTIAL = (0xC0, 0xC1)
_SOF_OTHERS = (0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_TRANSFORM = {"RGB": 0, "YCBCR": 1}
_SCAN_MARKERS = (b"\0", *(bytes((0xD0 + i,)) for i in range(8)))


@dataclass(frozen=True)
class JpegHead:
    """What stands ahead of the entropy-coded data."""

    size_xy: tuple[int, int]
    sampling: tuple[tuple[int, int], ...]
    """Horizontal and vertical sampling factor of each component."""
    has_restarts: bool
    segments: bytes
    """Frame, tables and scan header, without SOI."""
    scan_start: int
    """Where the entropy-coded data begins."""


def read_head(stream: bytes) -> JpegHead:
    """Walk the markers of a JPEG stream up to its scan.

    Raises:
        ValueError: it is no sequential 8-bit Huffman JPEG whose components lie in one scan.
    """
    if stream[:2] != bytes((0xFF, _SOI)):
        raise ValueError("it does not begin as a JPEG")
    offset, kept, frame, has_restarts = 2, [], None, False
    while True:
        if offset + 4 > len(stream) or stream[offset] != 0xFF:
            raise ValueError(f"no marker at byte {offset}")
        marker = stream[offset + 1]
        (length,) = struct.unpack_from(">H", stream, offset + 2)
        segment = stream[offset : offset + 2 + length]
        if len(segment) != 2 + length or length < 2:
            raise ValueError(f"the segment at byte {offset} is cut off")
        offset += len(segment)
        if marker in _SOF_OTHERS:
            raise ValueError("it is not sequential")
        if marker in _SOF_SEQUENTIAL:
            frame = _read_frame(segment)
        if marker == _DRI:
            has_restarts = segment[4:6] != b"\0\0"
        # A list of what is kept: others that decoders pass over (COM, APPn, DNL) can hold any text.
        if marker in (*_SOF_SEQUENTIAL, _SOS, *_TABLES):
            kept.append(segment)
        if marker == _SOS:
            break
    if frame is None or segment[4] != len(frame[1]):
        raise ValueError("its components lie in several scans")
    return JpegHead(*frame, has_restarts, b"".join(kept), offset)


def _read_frame(segment: bytes) -> tuple[tuple[int, int], tuple[tuple[int, int], ...]]:
    if len(segment) < 10 or segment[4] != 8 or len(segment) != 10 + 3 * segment[9]:
        raise ValueError("it has not 8 bits a component")
    height, width = struct.unpack_from(">HH", segment, 5)
    factors = segment[11::3]
    return (width, height), tuple((factor >> 4, factor & 15) for factor in factors)


class WholeStreams:
    """Makes the streams of one level whole.

    Args:
        tables: the level's JPEGTables, or None where every stream has its own.
        colour_space: what the slide says of its components.
        tile_xy: width and height that every stream must have.
    """

    def __init__(
        self, *, tables: bytes | None, colour_space: ColourSpace, tile_xy: tuple[int, int]
    ) -> None:
        adobe = struct.pack(
            ">BBH5sHHHB", 0xFF, 0xEE, 14, b"Adobe", 100, 0, 0, _TRANSFORM[colour_space]
        )
        self._opening = bytes((0xFF, _SOI)) + adobe + (_table_segments(tables) if tables else b"")
        self._tile_xy = tile_xy
        self._head: JpegHead | None = None
        self._old, self._new = b"", b""

    def whole(self, stream: bytes) -> bytes:
        """Return the stream with tables and colour space, without comments and EXIF in its head.

        Raises:
            ValueError: it is no sequential JPEG of three components and of the level's tile size.
        """
        self._read_head_of(stream)
        return self._new + stream[len(self._old) :]

    def copyable(self, stream: bytes) -> bytes | None:
        """Return the whole stream if it holds nothing but picture, else None.

        Between scan and end, and after it, a stream could hold further segments; decoders pass over
        them, but a copy would carry them along.

        Raises:
            ValueError: as `whole`.
        """
        whole = self.whole(stream)
        # Every 0xFF of a scan begins a stuffed byte (0) or a restart marker; the end has one more.
        _, *between = whole[len(self._new) :].split(b"\xff")
        if not between or between.pop() != b"\xd9":
            return None
        assert self._head is not None
        allowed = _SCAN_MARKERS if self._head.has_restarts else _SCAN_MARKERS[:1]
        return whole if {part[:1] for part in between} <= set(allowed) else None

    def _read_head_of(self, stream: bytes) -> None:
        # Streams of one level have one head as a rule: it is read once.
        if self._old and stream.startswith(self._old):
            return
        head = read_head(stream)
        if head.size_xy != self._tile_xy or len(head.sampling) != 3:
            raise ValueError(
                f"expected three components of {self._tile_xy}, got {len(head.sampling)} of "
                f"{head.size_xy}"
            )
        self._head = head
        self._old = stream[: head.scan_start]
        self._new = self._opening + head.segments


def _table_segments(tables: bytes) -> bytes:
    """Return the DQT, DHT and DRI segments of an abbreviated stream.

    Raises:
        ValueError: it is no such stream.
    """
    if tables[:2] != bytes((0xFF, _SOI)):
        raise ValueError("the JPEG tables do not begin as a JPEG")
    offset, kept = 2, []
    while offset + 4 <= len(tables) and tables[offset] == 0xFF and tables[offset + 1] != _EOI:
        (length,) = struct.unpack_from(">H", tables, offset + 2)
        segment = tables[offset : offset + 2 + length]
        if len(segment) != 2 + length or length < 2:
            raise ValueError("the JPEG tables are cut off")
        if segment[1] in _TABLES:
            kept.append(segment)
        offset += len(segment)
    return b"".join(kept)
