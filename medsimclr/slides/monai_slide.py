"""Slides whose pixels one of MONAI's backends decodes: cuCIM, OpenSlide or tifffile.

Format and scale stay those that our own reader finds, so that a slide has one scale whoever decodes
it: of a slide without scale, cuCIM claims 1 um/px, and MONAI passes that on.
"""

import importlib
import math
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from medsimclr.errors import ConfigError, SlideError
from medsimclr.slides.openslide_slide import background_rgb
from medsimclr.slides.pixels import on_background
from medsimclr.slides.scale import MppSource
from medsimclr.slides.slide import Slide

__all__ = ["Backend", "MonaiSlide", "check_backend"]

Backend = Literal["cucim", "openslide", "tifffile"]
_PACKAGES: dict[Backend, str] = {
    "cucim": "cucim-cu12 (or cucim-cu13, by the CUDA version; it runs without a GPU too)",
    "openslide": "openslide-python openslide-bin",
    "tifffile": "tifffile imagecodecs",
}
# MONAI's tifffile backend decodes a level whole: 800 MB here.
_MAX_LEVEL_PX = 1 << 28
_WHITE = 255


def check_backend(backend: Backend) -> None:
    """Check that MONAI and the backend's own package can be imported.

    Raises:
        ConfigError: One cannot; it says what to install.
    """
    for module in ("monai.data.wsi_reader", backend):
        try:
            importlib.import_module(module)
        except ImportError as error:
            package = "monai" if module != backend else _PACKAGES[backend]
            raise ConfigError(
                f"--reader monai:{backend} needs a package that cannot be imported ({error}). "
                f"Run pip install {package}, or leave --reader out."
            ) from error


class MonaiSlide:
    """A slide read by `monai.data.wsi_reader.WSIReader`.

    The backend openslide gives OpenSlide's pixels; for the others a region's corner takes the
    nearest pixel of its level. tifffile knows only those levels that come first in the file.

    Args:
        path: The slide.
        backend: Who decodes it; `check_backend` said that it is there.
        facts: The same slide opened by our own reader; only its format and scale are taken.

    Raises:
        SlideError: The backend cannot open it, or sees another level 0 than our own reader.
    """

    def __init__(self, path: Path, *, backend: Backend, facts: Slide) -> None:
        from monai.data.wsi_reader import WSIReader  # takes seconds

        self.path = path
        self.vendor = facts.vendor
        self.mpp_xy: tuple[float, float] | None = facts.mpp_xy
        self.mpp_source: MppSource | None = facts.mpp_source
        self.unread_images = facts.unread_images
        self._backend = backend
        mode = "RGBA" if backend == "openslide" else "RGB"
        self._reader: Any = WSIReader(backend, channel_dim=-1, mode=mode)
        self._background_rgb = (_WHITE, _WHITE, _WHITE)
        self._whole_levels: dict[int, NDArray[np.uint8]] = {}
        try:
            self._wsi: Any = self._reader.read(str(path))
            self._read_geometry()
        except Exception as error:  # each backend raises what its parsers happen to raise
            raise SlideError(f"MONAI's {backend} backend cannot open it ({error})") from error
        if self.dimensions_xy != facts.dimensions_xy:
            self.close()
            raise SlideError(
                f"MONAI's {backend} backend sees {self.dimensions_xy} pixels, our reader "
                f"{facts.dimensions_xy}; leave --reader out"
            )

    def _read_geometry(self) -> None:
        n_levels = _n_levels(self._wsi) if self._backend == "tifffile" else None
        levels = range(n_levels or self._reader.get_level_count(self._wsi))
        sizes_hw = [self._reader.get_size(self._wsi, level) for level in levels]
        self.level_dimensions_xy = tuple((int(width), int(height)) for height, width in sizes_hw)
        self.dimensions_xy = self.level_dimensions_xy[0]
        self.level_downsamples = tuple(
            float(self._reader.get_downsample_ratio(self._wsi, level)) for level in levels
        )
        if self._backend == "openslide":
            self._background_rgb = background_rgb(self._wsi.properties)

    def read_region(
        self, level0_xy: tuple[int, int], *, level: int, size_xy: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Read a rectangle of one level; see Slide."""
        assert 0 <= level < len(self.level_downsamples), level
        assert min(size_xy) > 0, size_xy
        if self._backend == "openslide":
            return self._read_openslide(level0_xy, level, size_xy)
        downsample = self.level_downsamples[level]
        x, y = (math.floor(place / downsample + 0.5) for place in level0_xy)
        width, height = self.level_dimensions_xy[level]
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + size_xy[0], width), min(y + size_xy[1], height)
        region_HW3 = np.full((size_xy[1], size_xy[0], 3), _WHITE, np.uint8)
        if left < right and top < bottom:
            region_HW3[top - y : bottom - y, left - x : right - x] = self._inside(
                level, (left, top), (right - left, bottom - top)
            )
        return region_HW3

    def close(self) -> None:
        """Free the file."""
        self._whole_levels.clear()
        self._wsi.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _read_openslide(
        self, level0_xy: tuple[int, int], level: int, size_xy: tuple[int, int]
    ) -> NDArray[np.uint8]:
        # MONAI refuses a corner right of or below the slide.
        if any(at > side for at, side in zip(level0_xy, self.dimensions_xy, strict=True)):
            region_HW3 = np.empty((size_xy[1], size_xy[0], 3), np.uint8)
            region_HW3[:] = self._background_rgb
            return region_HW3
        rgba_HW4 = self._decode(level0_xy, level, size_xy)
        return on_background(rgba_HW4, background_rgb=self._background_rgb)

    def _inside(
        self, level: int, level_xy: tuple[int, int], size_xy: tuple[int, int]
    ) -> NDArray[np.uint8]:
        (x, y), (width, height) = level_xy, size_xy
        if self._backend == "tifffile":
            return self._whole_level(level)[y : y + height, x : x + width]
        # Rounded up: the backend divides and cuts off what is behind the point.
        downsample = self.level_downsamples[level]
        level0_xy = (math.ceil(x * downsample), math.ceil(y * downsample))
        return self._decode(level0_xy, level, size_xy)

    def _whole_level(self, level: int) -> NDArray[np.uint8]:
        """Return a level that MONAI would else decode whole again for every region."""
        if level not in self._whole_levels:
            width, height = self.level_dimensions_xy[level]
            if width * height > _MAX_LEVEL_PX:
                raise SlideError(
                    f"level {level} has {width} x {height} pixels, and MONAI's tifffile backend "
                    "reads a level whole; choose --reader auto or monai:cucim."
                )
            self._whole_levels = {level: self._decode((0, 0), level, (width, height))}
        return self._whole_levels[level]

    def _decode(
        self, level0_xy: tuple[int, int], level: int, size_xy: tuple[int, int]
    ) -> NDArray[np.uint8]:
        try:
            pixels_HWC, _ = self._reader.get_data(
                self._wsi, location=level0_xy[::-1], size=size_xy[::-1], level=level
            )
        except Exception as error:  # each backend raises what its decoders happen to raise
            raise SlideError(
                f"level {level} at level-0 pixel {level0_xy} cannot be decoded by MONAI's "
                f"{self._backend} backend ({error}). Copy the slide anew."
            ) from error
        return np.ascontiguousarray(pixels_HWC, np.uint8)


def _n_levels(tiff: Any) -> int:
    """Count the levels of which MONAI's tifffile backend has size and pixels right.

    It takes the size from the directory of that number in the file, which may be a thumbnail or a
    label, and the pixels from the pyramid's level of that number.
    """
    n_levels = 0
    for level, page in zip(tiff.series[0].levels, tiff.pages, strict=False):
        if level.shape[:2] != (page.imagelength, page.imagewidth):
            break
        n_levels += 1
    if n_levels == 0:
        raise ValueError("its first image is no RGB image")
    return n_levels
