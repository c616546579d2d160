"""OME-TIFF slides, read tile by tile: pyramid levels in SubIFDs, scale from the OME-XML.

OpenSlide shows such a file as a generic TIFF of one level, and its TIFF resolution as its scale.
"""

import logging
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import tifffile
from numpy.typing import NDArray

from medsimclr.errors import MedSimCLRError, SlideError
from medsimclr.slides.ome_xml import OmeImage, choose_image, parse_ome_xml
from medsimclr.slides.scale import MppSource, mpp_of_tiff_resolution

__all__ = ["OmeTiffSlide", "is_ome_tiff"]

_TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# A tile or strip decodes whole; 64 megapixels are 200 MB.
_MAX_SEGMENT_PX = 1 << 26
_CACHE_BYTES = 64 << 20
_WHITE = 255
_UNITS = {2: "inch", 3: "centimeter"}
# tifffile tells its logger of every oddity, which would reach stderr; what matters it raises.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class _Level:
    """Directories of one level: one of all samples, or one each for red, green and blue."""

    pages: tuple[tifffile.TiffPage, ...]
    size_xy: tuple[int, int]
    segment_xy: tuple[int, int]
    """Width and height of a tile or strip."""
    n_across: int
    n_down: int


def is_ome_tiff(path: Path) -> bool:
    """Return whether a regular file is a TIFF whose first description is OME-XML.

    Raises:
        SlideError: The file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(4) not in _TIFF_MAGICS:
            return False
    try:
        with tifffile.TiffFile(path) as tiff:
            return bool(tiff.pages.first.is_ome)
    except OSError as error:  # another reader would show another scale, or one level alone
        raise SlideError(f"reading failed: {error.strerror or error}") from error
    except Exception:  # a damaged TIFF: OpenSlide will say what is wrong with it
        return False


class OmeTiffSlide:
    """An OME-TIFF of one 8-bit image, grey or RGB, read by tifffile.

    A region's corner takes the nearest pixel of its level. Grey becomes three equal channels.

    Raises:
        SlideError: It holds something else, or is damaged.
        UnsafeInputError: Its XML could harm.
    """

    vendor = "ome-tiff"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tiff = _opened(path)
        try:
            images = parse_ome_xml(self._tiff.pages.first.description)
            image = choose_image(images)
            self._levels = _levels(_planes(self._tiff, image), image)
        except MedSimCLRError:
            self.close()
            raise
        except Exception as error:  # tifffile raises what its parsers happen to raise
            self.close()
            raise SlideError(f"its TIFF directories are damaged ({error})") from error
        self.level_dimensions_xy = tuple(level.size_xy for level in self._levels)
        self.dimensions_xy = self.level_dimensions_xy[0]
        self.level_downsamples = tuple(
            (self.dimensions_xy[0] / width + self.dimensions_xy[1] / height) / 2
            for width, height in self.level_dimensions_xy
        )
        self.unread_images = ("label or macro",) if len(images) > 1 else ()
        self.mpp_xy: tuple[float, float] | None = image.mpp_xy
        self.mpp_source: MppSource | None = "ome-xml" if image.mpp_xy is not None else None
        if self.mpp_xy is None:
            self.mpp_xy = _tiff_mpp_xy(self._levels[0].pages[0])
            self.mpp_source = "tiff resolution" if self.mpp_xy is not None else None
        self._cache: OrderedDict[tuple[int, int], NDArray[np.uint8]] = OrderedDict()
        self._cached_bytes = 0

    def read_region(
        self, level0_xy: tuple[int, int], *, level: int, size_xy: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Read a rectangle of one level; see Slide."""
        assert 0 <= level < len(self._levels), level
        assert min(size_xy) > 0, size_xy
        downsample = self.level_downsamples[level]
        x, y = (math.floor(place / downsample + 0.5) for place in level0_xy)
        region_HW3 = np.full((size_xy[1], size_xy[0], 3), _WHITE, np.uint8)
        at = self._levels[level]
        right = min(x + size_xy[0], at.size_xy[0])
        bottom = min(y + size_xy[1], at.size_xy[1])
        left, top = max(x, 0), max(y, 0)
        if left >= right or top >= bottom:
            return region_HW3
        wide, tall = at.segment_xy
        for row in range(top // tall, (bottom - 1) // tall + 1):
            for column in range(left // wide, (right - 1) // wide + 1):
                segment_HWS = self._segment(level, row * at.n_across + column)
                x0, y0 = max(left, column * wide), max(top, row * tall)
                x1, y1 = min(right, (column + 1) * wide), min(bottom, (row + 1) * tall)
                region_HW3[y0 - y : y1 - y, x0 - x : x1 - x] = segment_HWS[
                    y0 - row * tall : y1 - row * tall, x0 - column * wide : x1 - column * wide
                ]
        return region_HW3

    def close(self) -> None:
        """Free the file."""
        self._tiff.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _segment(self, level: int, index: int) -> NDArray[np.uint8]:
        key = (level, index)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        try:
            segment_HWS = self._decode(self._levels[level], index)
        # imagecodecs' decoders raise errors of their own kinds.
        except Exception as error:
            raise SlideError(
                f"tile {index} of level {level} cannot be decoded ({error}). Copy the slide anew."
            ) from error
        self._cache[key] = segment_HWS
        self._cached_bytes += segment_HWS.nbytes
        while self._cached_bytes > _CACHE_BYTES and len(self._cache) > 1:
            _, oldest_HWS = self._cache.popitem(last=False)
            self._cached_bytes -= oldest_HWS.nbytes
        return segment_HWS

    def _decode(self, level: _Level, index: int) -> NDArray[np.uint8]:
        """Return one tile as (height, width, 3 or 1); what the file leaves out is white."""
        n_segments = level.n_across * level.n_down
        wide, tall = level.segment_xy
        planes: list[NDArray[np.uint8]] = []
        for page in level.pages:
            n_planes = page.samplesperpixel if page.planarconfig == 2 else 1
            for plane in range(n_planes):
                data = self._stored(page, index + plane * n_segments)
                samples = page.samplesperpixel if n_planes == 1 else 1
                pixels_HWS = np.full((tall, wide, samples), _WHITE, np.uint8)
                if data is not None:
                    number = index + plane * n_segments
                    decoded, _, _ = page.decode(data, number, jpegtables=page.jpegtables)
                    assert decoded is not None, "only a missing segment decodes to nothing"
                    decoded_HWS = decoded[0, :tall, :wide]
                    pixels_HWS[: decoded_HWS.shape[0], : decoded_HWS.shape[1]] = decoded_HWS
                planes.append(pixels_HWS)
        return np.concatenate(planes, axis=2)

    def _stored(self, page: tifffile.TiffPage, index: int) -> bytes | None:
        n_bytes, offset = page.databytecounts[index], page.dataoffsets[index]
        if n_bytes == 0 or offset == 0:
            return None
        file = self._tiff.filehandle
        file.seek(offset)
        data: bytes = file.read(n_bytes)
        if len(data) != n_bytes:
            raise ValueError("the file ends before it")
        return data


def _opened(path: Path) -> tifffile.TiffFile:
    try:
        return tifffile.TiffFile(path)
    except Exception as error:  # as above: struct.error where it is cut off
        raise SlideError(f"tifffile cannot open it ({error})") from error


def _planes(tiff: tifffile.TiffFile, image: OmeImage) -> list[tifffile.TiffPage]:
    """Return the directories that hold level 0 of the image: one, or one for each channel."""
    first = tiff.pages[image.ifds[0] if image.ifds else 0].aspage()
    if first.samplesperpixel == image.n_channels:
        return [first]
    ifds = image.ifds or tuple(range(image.n_channels))
    if len(ifds) < image.n_channels or first.samplesperpixel != 1:
        raise SlideError(
            f"its OME-XML says {image.n_channels} channels, its TIFF directory "
            f"{first.samplesperpixel} samples per pixel"
        )
    return [tiff.pages[ifd].aspage() for ifd in ifds[: image.n_channels]]


def _levels(planes: Sequence[tifffile.TiffPage], image: OmeImage) -> list[_Level]:
    """Return the levels of the pyramid, largest first."""
    n_reduced = {len(plane.subifds or ()) for plane in planes}
    if len(n_reduced) != 1:
        raise SlideError("its colour planes have different numbers of levels")
    stacks = [tuple(planes)]
    for place in range(n_reduced.pop()):
        stacks.append(tuple(_reduced(plane, place) for plane in planes))
    levels = sorted(map(_level, stacks), key=lambda level: level.size_xy, reverse=True)
    if levels[0].size_xy != image.size_xy:
        raise SlideError(
            f"its OME-XML says {image.size_xy[0]} x {image.size_xy[1]} pixels, its TIFF directory "
            f"{levels[0].size_xy[0]} x {levels[0].size_xy[1]}"
        )
    return levels


def _reduced(plane: tifffile.TiffPage, place: int) -> tifffile.TiffPage:
    assert plane.pages is not None, "it has SubIFDs"
    return plane.pages[place].aspage()


def _level(pages: tuple[tifffile.TiffPage, ...]) -> _Level:
    first = pages[0]
    for page in pages:
        _check_page(page)
        if (page.shape, page.rowsperstrip) != (first.shape, first.rowsperstrip):
            raise SlideError("its colour planes differ in size")
    width, height = first.imagewidth, first.imagelength
    wide = first.tilewidth if first.is_tiled else width
    tall = first.tilelength if first.is_tiled else min(first.rowsperstrip, height)
    if not 0 < wide * tall <= _MAX_SEGMENT_PX or width <= 0 or height <= 0:
        raise SlideError(
            f"its tiles must hold 1 to {_MAX_SEGMENT_PX} pixels, got {wide} x {tall}. Write it "
            "with tiles of 256 or 512 pixels"
        )
    return _Level(pages, (width, height), (wide, tall), -(-width // wide), -(-height // tall))


def _check_page(page: tifffile.TiffPage) -> None:
    if page.dtype != np.uint8 or page.imagedepth != 1 or page.tiledepth not in (0, 1):
        raise SlideError(f"its pixels must be 8-bit and flat, got {page.dtype} {page.shape!r}")
    name = getattr(page.photometric, "name", str(page.photometric))
    wanted = ("MINISBLACK",) if page.samplesperpixel == 1 else ("RGB", "YCBCR")
    if page.samplesperpixel not in (1, 3) or name not in wanted:
        raise SlideError(
            f"its pixels must be RGB or grey (MINISBLACK), got {page.samplesperpixel} samples of "
            f"{name}"
        )


def _tiff_mpp_xy(page: tifffile.TiffPage) -> tuple[float, float] | None:
    x, y = (_ratio(page.tags.get(tag)) for tag in ("XResolution", "YResolution"))
    return mpp_of_tiff_resolution((x, y), unit=_UNITS.get(int(page.resolutionunit), "none"))


def _ratio(tag: tifffile.TiffTag | None) -> float:
    is_ratio = tag is not None and isinstance(tag.value, tuple) and len(tag.value) == 2
    numerator, denominator = tag.value if tag is not None and is_ratio else (0, 0)
    return float(numerator / denominator) if denominator else math.nan
