"""The levels of a TIFF slide whose tiles are JPEG, for reading without OpenSlide.

OpenSlide stays the judge of what is a level and how large it is: a TIFF page counts as a level only
where it has the size of one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tifffile
from numpy.typing import NDArray

from medsimclr.errors import SlideError
from medsimclr.slides.jpeg_stream import ColourSpace, WholeStreams
from medsimclr.slides.slide import Slide

__all__ = ["JpegLevel", "find_jpeg_levels", "tiff_pages"]

# Formats that are plain TIFFs. Others use TIFF too, with overlaps, gaps or order of their own.
_PLAIN_VENDORS = ("aperio", "generic-tiff", "ome-tiff")
_JPEG, _RGB, _YCBCR, _CONTIGUOUS = 7, 2, 6, 1


@dataclass(frozen=True, eq=False)
class JpegLevel:
    """Where the JPEG tiles of one level lie in the file."""

    size_xy: tuple[int, int]
    """Width and height of the level."""
    tile_xy: tuple[int, int]
    """Width and height of a tile; those at the right and lower edge reach beyond the level."""
    n_columns: int
    offset_N: NDArray[np.int64]
    n_bytes_N: NDArray[np.int64]
    tables: bytes | None
    colour_space: ColourSpace


def find_jpeg_levels(slide: Slide) -> dict[int, JpegLevel]:
    """Return the levels that can be read tile by tile, by their number."""
    if slide.vendor not in _PLAIN_VENDORS:
        return {}
    levels: dict[int, JpegLevel] = {}
    try:
        with tifffile.TiffFile(slide.path) as tiff:
            for page in tiff_pages(tiff, with_subifds=slide.vendor == "ome-tiff"):
                size_xy = (page.imagewidth, page.imagelength)
                # Planes of a z-stack have one size: which of them is the level, OpenSlide knows.
                if slide.level_dimensions_xy.count(size_xy) == 1 and _is_plain_jpeg(page):
                    level = _level(page)
                    if _is_decodable(tiff, level):
                        levels.setdefault(slide.level_dimensions_xy.index(size_xy), level)
    except OSError as error:  # decoding instead of copying would be another result
        raise SlideError(
            f"{slide.path.name!r} cannot be read ({error.strerror or error}); copy it anew, or "
            "make it readable."
        ) from error
    except Exception:  # tifffile's parsers raise what they happen to; OpenSlide has opened it
        return {}
    return levels


def tiff_pages(tiff: tifffile.TiffFile, *, with_subifds: bool) -> Iterator[tifffile.TiffPage]:
    """Give the pages of a TIFF in the order of the file, each before the ones below it."""
    for page in tiff.pages:
        full = page.aspage()
        yield full
        if with_subifds and full.pages is not None:
            yield from (sub.aspage() for sub in full.pages)


def _is_plain_jpeg(page: tifffile.TiffPage) -> bool:
    is_plain = (
        page.is_tiled
        and page.compression == _JPEG
        and page.photometric in (_RGB, _YCBCR)
        and page.bitspersample == 8
        and page.samplesperpixel == 3
        and page.planarconfig == _CONTIGUOUS
        and page.imagedepth == 1
    )
    # A tile of no bytes is a gap, which OpenSlide fills from a neighbouring level.
    return is_plain and len(page.databytecounts) > 0 and min(page.databytecounts) > 0


def _is_decodable(tiff: tifffile.TiffFile, level: JpegLevel) -> bool:
    """Tell by its first tile whether the level is JPEG of the kind that we decode and copy.

    The tags do not say whether a JPEG is progressive or in several scans.
    """
    tiff.filehandle.seek(int(level.offset_N[0]))
    stream = tiff.filehandle.read(int(level.n_bytes_N[0]))
    try:
        streams = WholeStreams(
            tables=level.tables, colour_space=level.colour_space, tile_xy=level.tile_xy
        )
        streams.whole(stream)
    except ValueError:
        return False
    return True


def _level(page: tifffile.TiffPage) -> JpegLevel:
    n_columns = -(-page.imagewidth // page.tilewidth)
    n_rows = -(-page.imagelength // page.tilelength)
    offset_N = np.array(page.dataoffsets, np.int64)
    n_bytes_N = np.array(page.databytecounts, np.int64)
    if not len(offset_N) == len(n_bytes_N) == n_columns * n_rows:
        raise ValueError("the number of tiles does not fit the size")
    return JpegLevel(
        size_xy=(page.imagewidth, page.imagelength),
        tile_xy=(page.tilewidth, page.tilelength),
        n_columns=n_columns,
        offset_N=offset_N,
        n_bytes_N=n_bytes_N,
        tables=page.jpegtables,
        colour_space="RGB" if page.photometric == _RGB else "YCBCR",
    )
