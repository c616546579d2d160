"""Decode the JPEG tiles of one level, whole or at 1/2, 1/4 or 1/8 of their size.

A fraction comes from the DCT itself: libjpeg computes 4 x 4, 2 x 2 or one pixel from each block of
8 x 8, which is close to averaging over areas and costs a fraction of the time (libjpeg.txt,
"scale_num, scale_denom").
"""

import os
import weakref
from collections import OrderedDict
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from medsimclr.errors import SlideError
from medsimclr.slides.jpeg_levels import JpegLevel
from medsimclr.slides.jpeg_stream import WholeStreams

__all__ = ["REDUCTIONS", "JpegTiles"]

REDUCTIONS = (1, 2, 4, 8)
_DECODE_FLAGS = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
# Decoded tiles that stay at hand: two rows of them, up to this much memory.
_CACHE_BYTES = 96 << 20
_MAX_STREAM_BYTES = 64 << 20


class JpegTiles:
    """One level of a slide, reduced by a whole factor; a context manager of no thread but its own.

    Frame: `x`, `y` and sizes are pixels of the reduced level.

    Args:
        path: the slide.
        level: where its tiles are.
        reduction: 1, 2, 4 or 8; must divide the sides of a tile.
    """

    def __init__(self, path: Path, level: JpegLevel, *, reduction: int) -> None:
        assert reduction in REDUCTIONS, reduction
        assert level.tile_xy[0] % reduction == level.tile_xy[1] % reduction == 0, level.tile_xy
        self._path, self._level, self._reduction = path, level, reduction
        self.size_xy = (level.size_xy[0] // reduction, level.size_xy[1] // reduction)
        self.tile_xy = (level.tile_xy[0] // reduction, level.tile_xy[1] // reduction)
        self._streams = WholeStreams(
            tables=level.tables, colour_space=level.colour_space, tile_xy=level.tile_xy
        )
        self._cache: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        tile_bytes = 3 * self.tile_xy[0] * self.tile_xy[1]
        self._most_cached = min(2 * level.n_columns + 4, max(4, _CACHE_BYTES // tile_bytes))
        self._file = os.open(path, os.O_RDONLY)
        self._closing = weakref.finalize(self, os.close, self._file)

    def close(self) -> None:
        """Close the file and drop the decoded tiles."""
        self._closing()
        self._cache.clear()

    def copy_stream(self, column: int, row: int) -> bytes | None:
        """Return a tile's own JPEG stream made whole, or None if it can hold more than picture.

        Raises:
            SlideError: the stream cannot be read or is no JPEG of the level's kind.
        """
        index = row * self._level.n_columns + column
        try:
            return self._streams.copyable(self._read_stream(index))
        except ValueError as error:
            raise self._undecodable(index, str(error)) from error

    def read(self, x: int, y: int, *, width: int, height: int) -> NDArray[np.uint8]:
        """Return a rectangle that lies within the level as RGB (height, width, 3).

        Raises:
            SlideError: a tile cannot be read or decoded.
        """
        tile_width, tile_height = self.tile_xy
        region_HW3 = np.empty((height, width, 3), np.uint8)
        for row in range(y // tile_height, (y + height - 1) // tile_height + 1):
            top = row * tile_height
            first, last = max(top, y), min(top + tile_height, y + height)
            for column in range(x // tile_width, (x + width - 1) // tile_width + 1):
                left = column * tile_width
                begin, end = max(left, x), min(left + tile_width, x + width)
                tile_HW3 = self._decoded(row * self._level.n_columns + column)
                region_HW3[first - y : last - y, begin - x : end - x] = tile_HW3[
                    first - top : last - top, begin - left : end - left
                ]
        return region_HW3

    def decode_into(self, column: int, row: int, out_HW3: NDArray[np.uint8]) -> None:
        """Decode one whole tile past the cache; for grids that need each tile once."""
        self._decode(row * self._level.n_columns + column, out_HW3)

    def _decoded(self, index: int) -> NDArray[np.uint8]:
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        if len(self._cache) >= self._most_cached:
            # Its memory is used again: fresh pages cost as much as half the decoding.
            tile_HW3 = self._cache.popitem(last=False)[1]
        else:
            tile_HW3 = np.empty((self.tile_xy[1], self.tile_xy[0], 3), np.uint8)
        self._decode(index, tile_HW3)
        self._cache[index] = tile_HW3
        return tile_HW3

    def _decode(self, index: int, out_HW3: NDArray[np.uint8]) -> None:
        try:
            stream = self._streams.whole(self._read_stream(index))
            if self._reduction == 1:
                imagecodecs.jpeg8_decode(stream, out=out_HW3)
                return
            reduced = cv2.imdecode(np.frombuffer(stream, np.uint8), _DECODE_FLAGS[self._reduction])
            if reduced is None or reduced.shape != out_HW3.shape:
                raise ValueError("it does not decode")
            cv2.cvtColor(reduced, cv2.COLOR_BGR2RGB, dst=out_HW3)
        except (ValueError, RuntimeError, cv2.error) as error:
            raise self._undecodable(index, str(error)) from error

    def _read_stream(self, index: int) -> bytes:
        n_bytes = int(self._level.n_bytes_N[index])
        if n_bytes > _MAX_STREAM_BYTES:
            raise ValueError(f"it claims {n_bytes} bytes")
        try:
            stream = os.pread(self._file, n_bytes, int(self._level.offset_N[index]))
        except OSError as error:
            raise ValueError(error.strerror or "it cannot be read") from error
        if len(stream) != n_bytes:
            raise ValueError(f"expected {n_bytes} bytes, got {len(stream)}")
        return stream

    def _undecodable(self, index: int, reason: str) -> SlideError:
        row, column = divmod(index, self._level.n_columns)
        return SlideError(
            f"the JPEG tile in column {column}, row {row} of the level of {self._level.size_xy} px "
            f"cannot be decoded ({reason}). Copy the slide anew."
        )
