"""A TIFF with any header, written byte by byte: what no library would write.

Source: TIFF 6.0, section 2; BigTIFF: https://www.awaresystems.be/imaging/tiff/bigtiff.html
"""

import struct
from collections.abc import Mapping
from pathlib import Path

__all__ = ["claiming_tags", "write_tiff"]

_ASCII, _SHORT, _LONG, _RATIONAL, _LONG8 = 2, 3, 4, 5, 16
# Type, count, and the values as bytes; fewer bytes than the count claims is what a forger does.
Tag = tuple[int, int, bytes]


def write_tiff(path: Path, tags: Mapping[int, Tag], *, is_big: bool, n_looping: int = 0) -> None:
    """Write one directory of tags and no pixels.

    Args:
        path: the file.
        tags: by number.
        is_big: BigTIFF, with offsets of 8 bytes.
        n_looping: how many directories there are, the last of which points back to the first; 0
            for a single one that ends as it should.
    """
    if is_big:
        head, offset, count, entry = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16), "<Q", "<Q", "<HHQ"
    else:
        head, offset, count, entry = struct.pack("<2sHI", b"II", 42, 8), "<I", "<H", "<HHI"
    value_bytes = struct.calcsize(offset)
    directory_bytes = (
        struct.calcsize(count) + len(tags) * (struct.calcsize(entry) + value_bytes) + value_bytes
    )
    starts = [len(head) + directory_bytes * index for index in range(max(1, n_looping))]
    data, directory = b"", struct.pack(count, len(tags))
    for number, (kind, n_values, values) in sorted(tags.items()):
        directory += struct.pack(entry, number, kind, n_values)
        if len(values) <= value_bytes:
            directory += values.ljust(value_bytes, b"\0")
        else:
            directory += struct.pack(offset, starts[-1] + directory_bytes + len(data))
            data += values
    following = [*starts[1:], starts[0] if n_looping else 0]
    path.write_bytes(
        head + b"".join(directory + struct.pack(offset, at) for at in following) + data
    )


def claiming_tags(
    size_xy: tuple[int, int], *, is_tiled: bool, n_pieces: int = 1, description: bytes = b""
) -> dict[int, Tag]:
    """Return the tags of an 8-bit RGB image of 0.5 um/px that claims a size and holds no pixels.

    Args:
        size_xy: claimed width and height.
        is_tiled: tiles of 256 px, else one strip of all rows.
        n_pieces: claimed number of tiles or strips.
        description: the ImageDescription, which tells vendors apart.
    """
    width, height = (
        (_LONG, 1, struct.pack("<I", size_xy[0])),
        (_LONG, 1, struct.pack("<I", size_xy[1])),
    )
    one, three, tile = struct.pack("<H", 1), struct.pack("<H", 3), struct.pack("<H", 256)
    resolution = (_RATIONAL, 1, struct.pack("<II", 20_000, 1))
    place = (_LONG8 if n_pieces >= 1 << 31 else _LONG, n_pieces, struct.pack("<I", 8))
    tags: dict[int, Tag] = {
        256: width,
        257: height,
        258: (_SHORT, 3, struct.pack("<3H", 8, 8, 8)),
        259: (_SHORT, 1, one),
        262: (_SHORT, 1, struct.pack("<H", 2)),
        277: (_SHORT, 1, three),
        282: resolution,
        283: resolution,
        296: (_SHORT, 1, three),
    }
    if description:
        tags[270] = (_ASCII, len(description) + 1, description + b"\0")
    if is_tiled:
        tags |= {322: (_SHORT, 1, tile), 323: (_SHORT, 1, tile), 324: place, 325: place}
    else:
        tags |= {273: place, 278: height, 279: place}
    return tags
