"""What a tile source gives, whatever it reads: slides, image folders or CIFAR-10.

A source is a small picklable value, since it may be read in another process. Opening it gives
`SlideTiles`: facts and tables at once, tiles one by one.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from medsimclr.errors import SlideError
from medsimclr.files.checksum import sha256_of_file
from medsimclr.slides.focus import focus_score
from medsimclr.store.schema import LEFT_OUT_REASONS
from medsimclr.store.writer import Tile

__all__ = [
    "QUALITY_NAMES",
    "Alive",
    "SlideTiles",
    "TileSource",
    "as_tiles",
    "fingerprint",
    "labels_of",
    "no_tiles",
]

QUALITY_NAMES = ["focus", "ink", "blank"]
Alive = Callable[[], None]
_WHOLE_FILE_BYTES = 16 << 20
_BLOCK_BYTES = 1 << 18


@dataclass(frozen=True)
class SlideTiles:
    """One opened slide: the arguments of `StoreWriter.write_slide`."""

    facts: dict[str, Any]
    tables: dict[str, npt.NDArray[Any]]
    tiles: Iterator[Tile]
    left_out_M3: npt.NDArray[np.int64] | None = None
    """x, y at level 0 and reason of the places without a tile."""
    pictures: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What is worth saying of the slide, though it is no error."""


class TileSource(Protocol):
    """One slide to be: a whole-slide image, a group of images, or a CIFAR-10 file."""

    @property
    def slide_id(self) -> str:
        """Name of the slide in the store."""

    @property
    def is_isolated(self) -> bool:
        """Whether it must be read in a process of its own, since its reader may abort."""

    def inputs(self) -> dict[str, str]:
        """Return digests of all that decides the slide's content, to recognise it on resume."""

    def open(self, alive: Alive) -> SlideTiles:
        """Open the slide.

        Args:
            alive: called whenever reading gets on.

        Raises:
            SlideError: it cannot be read, has no usable scale, or no tile of it is kept.
        """


def fingerprint(path: Path) -> dict[str, str]:
    """Return `sha256` of a file, or `quickhash` of one larger than 16 MB.

    The quickhash covers the size and 64 blocks of 256 kB spread over the file: to read a whole
    slide for it would cost as much as to copy its tiles.

    Raises:
        SlideError: it is no regular file (a pipe would be waited for), or cannot be read.
    """
    if not path.is_file():
        raise SlideError(f"{path.name!r} cannot be read: it is no regular file. Give a slide file.")
    try:
        return _fingerprint(path)
    except OSError as error:
        raise SlideError(
            f"{path.name!r} cannot be read ({error.strerror}); copy it anew, or make it readable."
        ) from error


def _fingerprint(path: Path) -> dict[str, str]:
    size = path.stat().st_size
    if size <= _WHOLE_FILE_BYTES:
        return {"sha256": sha256_of_file(path)}
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for offset in np.linspace(0, size - _BLOCK_BYTES, 64).astype(np.int64):
            file.seek(int(offset))
            digest.update(file.read(_BLOCK_BYTES))
    return {"quickhash": digest.hexdigest()}


def as_tiles(
    images: Iterator[npt.NDArray[np.uint8]], *, slide_id: str, min_focus: float
) -> Iterator[Tile]:
    """Number images, and note those out of focus; there is no overview to find ink or blank in.

    Raises:
        SlideError: no image is sharp enough.
    """
    too_blurred = LEFT_OUT_REASONS.index("focus")
    n_images, n_kept, best = 0, 0, 0.0
    for row, image_HW3 in enumerate(images):
        focus = focus_score(image_HW3)
        is_blurred = focus < min_focus
        yield Tile(
            row=row,
            pixels=image_HW3,
            quality=(focus, math.nan, math.nan),
            left_out=too_blurred if is_blurred else None,
        )
        n_images += 1
        n_kept += not is_blurred
        best = max(best, focus)
    if n_kept == 0:
        raise no_tiles(
            slide_id,
            f"none of {n_images} tiles has a focus of at least {min_focus:g} (the best has "
            f"{best:.3g}); lower --min-focus",
        )


def labels_of(
    coverage_NC: npt.NDArray[np.float32], *, min_coverage: float
) -> npt.NDArray[np.int16]:
    """Return the class that covers most of each tile, or -1.

    It is -1 where that class covers less than asked, and where two cover the same most: a tile
    within two classes belongs to neither.
    """
    if coverage_NC.shape[1] == 0:
        return np.full(len(coverage_NC), -1, np.int16)
    most_N = coverage_NC.max(axis=1)
    is_one_N = (coverage_NC == most_N[:, None]).sum(axis=1) == 1
    label_N = np.where((most_N >= min_coverage) & is_one_N, coverage_NC.argmax(axis=1), -1)
    return label_N.astype(np.int16)


def no_tiles(slide_id: str, reason: str) -> SlideError:
    """Return the error of a slide of which no tile is kept."""
    return SlideError(f"slide {slide_id!r} gives no tile: {reason}.")
