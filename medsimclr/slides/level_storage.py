"""How the levels of a slide are stored: compression, tiles, and what their JPEG headers say."""

from dataclasses import dataclass

import tifffile

from medsimclr.slides.dicom import is_dicom, transfer_syntax
from medsimclr.slides.jpeg_levels import tiff_pages
from medsimclr.slides.jpeg_stream import read_head
from medsimclr.slides.slide import Slide

__all__ = ["JpegFacts", "LevelStorage", "level_storage"]

# DICOM PS3.6 Annex A.
_TRANSFER_SYNTAXES = {
    "1.2.840.10008.1.2": "uncompressed",
    "1.2.840.10008.1.2.1": "uncompressed",
    "1.2.840.10008.1.2.4.50": "JPEG",
    "1.2.840.10008.1.2.4.51": "JPEG",
    "1.2.840.10008.1.2.4.90": "JPEG 2000",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.5": "run lengths",
}
_COMPRESSIONS = {
    "NONE": "uncompressed",
    "JPEG": "JPEG",
    "OJPEG": "JPEG",
    "JPEG_LOSSY": "JPEG",
    "APERIO_JP2000_YCBC": "JPEG 2000",
    "APERIO_JP2000_RGB": "JPEG 2000",
    "JPEG_2000_LOSSY": "JPEG 2000",
    "JPEG2000": "JPEG 2000",
}
_PLAIN_IMAGES = ("bmp", "jpeg", "png", "tiff")
# ITU T.81 Annex K, table K.1: what quality 50 divides the luminance by.
_LUMINANCE_50 = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class JpegFacts:
    """What the header of a level's first JPEG tile says."""

    colour_space: str
    """RGB, or YCbCr."""
    subsampling: str
    """4:4:4, 4:2:2, 4:2:0 or the factors."""
    quality: int | None
    """The nearest of libjpeg's qualities, from the sum of the luminance table; 1 to 100."""


@dataclass(frozen=True, kw_only=True)
class LevelStorage:
    """How one level is stored."""

    compression: str
    tile_xy: tuple[int, int] | None
    """Width and height of its tiles; None where it has none (strips)."""
    jpeg: JpegFacts | None = None


def level_storage(slide: Slide) -> dict[int, LevelStorage]:
    """Return what can be told of the levels, by number; a level of which nothing is known lacks."""
    levels = range(len(slide.level_dimensions_xy))
    if slide.vendor in _PLAIN_IMAGES:
        return {0: LevelStorage(compression=slide.vendor.upper(), tile_xy=None)}
    if is_dicom(slide.path):
        syntax = transfer_syntax(slide.path)
        name = _TRANSFER_SYNTAXES.get(syntax or "", f"transfer syntax {syntax}")
        return {level: LevelStorage(compression=name, tile_xy=None) for level in levels}
    found: dict[int, LevelStorage] = {}
    try:
        with tifffile.TiffFile(slide.path) as tiff:
            for page in tiff_pages(tiff, with_subifds=True):
                size_xy = (page.imagewidth, page.imagelength)
                if size_xy in slide.level_dimensions_xy:
                    level = slide.level_dimensions_xy.index(size_xy)
                    found.setdefault(level, _of_page(tiff, page))
    except Exception:  # no TIFF, or one that only its own reader understands
        return found
    return found


def _of_page(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> LevelStorage:
    name = getattr(page.compression, "name", str(page.compression))
    compression = _COMPRESSIONS.get(name, name.replace("_", " ").lower())
    is_tiled = page.is_tiled and page.tilewidth > 0
    return LevelStorage(
        compression=compression,
        tile_xy=(page.tilewidth, page.tilelength) if is_tiled else None,
        jpeg=_jpeg_facts(tiff, page) if compression == "JPEG" and is_tiled else None,
    )


def _jpeg_facts(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> JpegFacts | None:
    place = next((i for i, n_bytes in enumerate(page.databytecounts) if n_bytes > 0), None)
    if place is None:
        return None
    tiff.filehandle.seek(page.dataoffsets[place])
    # NDPI gives the header of all its tiles once; tifffile puts it in front of each.
    stream = (page.jpegheader or b"") + tiff.filehandle.read(page.databytecounts[place])
    try:
        head = read_head(stream)
    except ValueError:  # progressive, arithmetic or several scans: tiling leaves it to OpenSlide
        return None
    tables = (page.jpegtables or b"")[2:-2] + head.segments
    is_rgb = getattr(page.photometric, "name", "") == "RGB"
    return JpegFacts(
        colour_space="RGB" if is_rgb else "YCbCr",
        subsampling=_subsampling(head.sampling),
        quality=_quality(tables),
    )


def _subsampling(sampling: tuple[tuple[int, int], ...]) -> str:
    if len(sampling) == 1:
        return "grey"
    names = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1"}
    chroma_is_full = set(sampling[1:]) == {(1, 1)}
    written = " ".join(f"{across}x{down}" for across, down in sampling)
    return names.get(sampling[0], written) if chroma_is_full else written


def _quality(segments: bytes) -> int | None:
    """Return the quality of the first 8-bit quantisation table with number 0."""
    offset = 0
    while offset + 4 <= len(segments):
        end = offset + 2 + int.from_bytes(segments[offset + 2 : offset + 4], "big")
        if segments[offset + 1] == 0xDB and segments[offset + 4 : offset + 5] == b"\0":
            total = sum(segments[offset + 5 : min(end, offset + 69)])
            return min(range(1, 101), key=lambda quality: abs(_sum_at(quality) - total))
        offset = end
    return None


def _sum_at(quality: int) -> int:
    """Return the sum of libjpeg's luminance table (jpeg_quality_scaling)."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return sum(min(max((step * percent + 50) // 100, 1), 255) for step in _LUMINANCE_50)
