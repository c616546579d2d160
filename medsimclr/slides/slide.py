"""What tiling needs of a slide, whichever library reads it.

Frames: `level0_` are pixels of level 0, `level_` pixels of one level; xy for sizes and places, HW
for arrays. Label and macro images carry names and dates of patients; no reader opens them.
"""

from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from medsimclr.slides.scale import MppSource

__all__ = ["Slide"]


class Slide(Protocol):
    """An open slide. A context manager; one thread at a time."""

    @property
    def path(self) -> Path:
        """The file that was opened."""

    @property
    def vendor(self) -> str:
        """The format: by OpenSlide's name ("aperio", "dicom"), "ome-tiff", or Pillow's ("jpeg")."""

    @property
    def dimensions_xy(self) -> tuple[int, int]:
        """Width and height of level 0."""

    @property
    def level_dimensions_xy(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each level, level 0 first."""

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level."""

    @property
    def mpp_xy(self) -> tuple[float, float] | None:
        """Micrometres per level-0 pixel as the slide states them, unchecked; None where silent."""

    @property
    def mpp_source(self) -> MppSource | None:
        """Where mpp_xy comes from: "slide", "tiff resolution" or "ome-xml"."""

    @property
    def unread_images(self) -> tuple[str, ...]:
        """Which of label, macro and other such images it holds, by names that are no free text."""

    def read_region(
        self, level0_xy: tuple[int, int], *, level: int, size_xy: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Read a rectangle of one level as (H, W, 3) RGB.

        Pixels that the slide does not have, inside or outside its borders, take its background
        colour, else white.

        Args:
            level0_xy: Top-left corner in level-0 pixels; may lie outside the slide.
            level: Index into level_dimensions_xy.
            size_xy: Width and height in pixels of that level.

        Raises:
            SlideError: The pixels cannot be decoded.
        """

    def close(self) -> None:
        """Free the file; the slide cannot be read afterwards."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
