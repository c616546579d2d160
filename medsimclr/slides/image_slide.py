"""A plain image (JPEG, PNG, TIFF, BMP) as a slide of one level, read by Pillow."""

import warnings
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medsimclr.errors import SlideError, UnsafeInputError
from medsimclr.slides.pixels import on_background
from medsimclr.slides.scale import MppSource, mpp_of_tiff_resolution

__all__ = ["ImageSlide"]

_FORMATS = ("JPEG", "PNG", "TIFF", "BMP")
# 16-bit and float images are left out: Pillow clips them to 8 bits without a word.
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")

_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _TILE_WIDTH = 282, 283, 296, 322
_RESOLUTION_UNITS = {2: "inch", 3: "centimeter"}


class ImageSlide:
    """A plain image held in memory, pixels as stored: no rotation by EXIF.

    The dpi of a photograph is made for printers and is no scale; the resolution of a TIFF is one
    where it is finer than any printer's.

    Raises:
        SlideError: Pillow cannot decode it, it is not 8-bit, or it is a TIFF of several pages.
        UnsafeInputError: It claims more pixels than Pillow deems safe.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.vendor, self._image_HW3, self.mpp_xy = _decode(path)
        height, width = self._image_HW3.shape[:2]
        self.dimensions_xy = (width, height)
        self.level_dimensions_xy: tuple[tuple[int, int], ...] = ((width, height),)
        self.level_downsamples: tuple[float, ...] = (1.0,)
        self.mpp_source: MppSource | None = "tiff resolution" if self.mpp_xy else None
        self.unread_images: tuple[str, ...] = ()

    def read_region(
        self, level0_xy: tuple[int, int], *, level: int, size_xy: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Read a rectangle; see Slide."""
        assert level == 0, level
        assert min(size_xy) > 0, size_xy
        (x, y), (width, height) = level0_xy, size_xy
        region_HW3 = np.full((height, width, 3), 255, np.uint8)
        inside_HW3 = self._image_HW3[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
        top, left = max(-y, 0), max(-x, 0)
        rows, columns = inside_HW3.shape[:2]
        region_HW3[top : top + rows, left : left + columns] = inside_HW3
        return region_HW3

    def close(self) -> None:
        """Free the pixels."""
        self._image_HW3 = np.empty((0, 0, 3), np.uint8)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _decode(path: Path) -> tuple[str, NDArray[np.uint8], tuple[float, float] | None]:
    """Return the format's name in lower case, the pixels (H, W, 3), and a TIFF's um/px."""
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels and refuses from twice that; only the latter counts.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                _check_layout(image)
                pixels = image.convert("RGBA" if image.has_transparency_data else "RGB")
                vendor = (image.format or "image").lower()
                mpp_xy = _tiff_mpp(image)
    except Image.DecompressionBombError as error:
        raise UnsafeInputError(
            f"{path.name!r} claims more pixels than a plain image may have ({error}). "
            "Convert it to a tiled pyramidal TIFF, which is read piece by piece."
        ) from error
    except SlideError:
        raise
    except Exception as error:  # Pillow's plugins raise what their parsers happen to raise
        raise SlideError(f"Pillow cannot decode it: {error}") from error
    pixels_HWC = np.array(pixels)
    if pixels_HWC.shape[2] == 4:
        pixels_HWC = on_background(pixels_HWC, background_rgb=(255, 255, 255))
    return vendor, pixels_HWC, mpp_xy


def _tiff_mpp(image: Image.Image) -> tuple[float, float] | None:
    tags = getattr(image, "tag_v2", {})
    if _TILE_WIDTH in tags:
        # OpenSlide reads those. If it could not, as on a failing disk, it must not go on unnoticed.
        return None
    unit = _RESOLUTION_UNITS.get(tags.get(_RESOLUTION_UNIT, 0), "")
    try:
        pixels_per_unit_xy = float(tags[_X_RESOLUTION]), float(tags[_Y_RESOLUTION])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return mpp_of_tiff_resolution(pixels_per_unit_xy, unit=unit)


def _check_layout(image: Image.Image) -> None:
    n_pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    if n_pages != 1:
        raise SlideError(f"a plain TIFF must hold one page, got {n_pages}")
    if image.mode not in _MODES:
        raise SlideError(f"a plain image must have 8 bits per channel, got mode {image.mode!r}")
