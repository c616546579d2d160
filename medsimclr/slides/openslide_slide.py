"""Slides that OpenSlide reads: the reference for pixels and geometry."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import openslide
from numpy.typing import NDArray

from medsimclr.errors import SlideError
from medsimclr.slides.pixels import on_background
from medsimclr.slides.scale import MppSource, mpp_of_tiff_resolution

__all__ = ["OpenSlideSlide", "background_rgb"]

_WHITE = (255, 255, 255)
_TIFF_SCALED_VENDORS = frozenset({"argos", "generic-tiff", "huron", "leica"})
# In some formats the name of such an image is free text of the scanner.
_IMAGE_NAMES = frozenset({"label", "macro", "overview", "thumbnail"})


class OpenSlideSlide:
    """A slide read by OpenSlide.

    Attributes:
        unread_images: Which of label, macro and other such images the file holds. Only their names
            are known, and of names only those that are no free text.

    Raises:
        openslide.OpenSlideUnsupportedFormatError: OpenSlide knows no such format.
        openslide.OpenSlideError: It knows the format, but the file is damaged or incomplete.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._slide = openslide.OpenSlide(path)
        properties = self._slide.properties
        self.vendor = properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown")
        self.dimensions_xy = self._slide.dimensions
        self.level_dimensions_xy = tuple(self._slide.level_dimensions)
        self.level_downsamples = tuple(self._slide.level_downsamples)
        self.mpp_xy, self.mpp_source = _stated_mpp(properties)
        self.unread_images = _unread_images(properties)
        self._background_rgb = background_rgb(properties)

    def read_region(
        self, level0_xy: tuple[int, int], *, level: int, size_xy: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Read a rectangle of one level; see Slide."""
        assert 0 <= level < len(self.level_downsamples), level
        assert min(size_xy) > 0, size_xy
        try:
            region = self._slide.read_region(level0_xy, level, size_xy)
        except openslide.OpenSlideError as error:
            raise SlideError(
                f"level {level} at level-0 pixel {level0_xy} cannot be decoded ({error}). "
                "Copy the slide anew."
            ) from error
        return on_background(np.asarray(region), background_rgb=self._background_rgb)

    def close(self) -> None:
        """Free the file."""
        self._slide.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _stated_mpp(
    properties: Mapping[str, str],
) -> tuple[tuple[float, float] | None, MppSource | None]:
    """Return (mpp_xy, source) as stated; whether it makes sense is for resolve_mpp to say."""
    stated_xy = _number_pair(
        properties, openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y
    )
    # Of these, OpenSlide's mpp is the TIFF resolution, 72 dpi of a paint program included.
    vendor = properties.get(openslide.PROPERTY_NAME_VENDOR)
    if stated_xy is not None and vendor not in _TIFF_SCALED_VENDORS:
        return stated_xy, "slide"
    pixels_xy = _number_pair(properties, "tiff.XResolution", "tiff.YResolution")
    unit = properties.get("tiff.ResolutionUnit", "")
    tiff_xy = mpp_of_tiff_resolution(pixels_xy, unit=unit) if pixels_xy is not None else None
    return (None, None) if tiff_xy is None else (tiff_xy, "tiff resolution")


def _number_pair(
    properties: Mapping[str, str], x_name: str, y_name: str
) -> tuple[float, float] | None:
    try:
        return float(properties[x_name]), float(properties[y_name])
    except (KeyError, ValueError):
        return None


def _unread_images(properties: Mapping[str, str]) -> tuple[str, ...]:
    keys = [key.split(".") for key in properties if key.startswith("openslide.associated.")]
    names = {key[2] for key in keys if key[-1] == "width"}
    return tuple(sorted({name if name in _IMAGE_NAMES else "other" for name in names}))


def background_rgb(properties: Mapping[str, str]) -> tuple[int, int, int]:
    """Return the colour of what a slide has not scanned; white where it states none."""
    try:
        rgb = bytes.fromhex(properties[openslide.PROPERTY_NAME_BACKGROUND_COLOR])
    except (KeyError, ValueError):
        return _WHITE
    return (rgb[0], rgb[1], rgb[2]) if len(rgb) == 3 else _WHITE
