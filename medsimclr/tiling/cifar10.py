"""Tiles of CIFAR-10 in its binary format: rows of one label byte and 3 x 32 x 32 pixel bytes.

Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version". Every image is drawn
independently, so intervals are computed over tiles, and there is no scale.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medsimclr.errors import SlideError
from medsimclr.files.checksum import sha256_of_file
from medsimclr.slides.opening import slide_id_of
from medsimclr.tiling.source import Alive, SlideTiles, as_tiles

__all__ = ["CIFAR10_CLASSES", "Cifar10File"]

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_SIDE_PX = 32
_ROW_BYTES = 1 + 3 * _SIDE_PX * _SIDE_PX


@dataclass(frozen=True, kw_only=True)
class Cifar10File:
    """One data_batch_*.bin or test_batch.bin."""

    path: Path
    tile_px: int
    min_focus: float = 0.0
    is_isolated: bool = False

    @property
    def slide_id(self) -> str:
        """Name in the store, of the file's stem: data_batch_1 to 5, test_batch."""
        return slide_id_of(self.path)

    def inputs(self) -> dict[str, str]:
        """Return the digest of the file."""
        return {"sha256": sha256_of_file(self.path)}

    def open(self, alive: Alive) -> SlideTiles:
        """Read the whole file, 30 MB; see `TileSource`."""
        content = np.fromfile(self.path, np.uint8)
        if self.tile_px != _SIDE_PX:
            raise SlideError(
                f"{str(self.path)!r} holds images of 32 px, got --tile-px {self.tile_px}; "
                "give --tile-px 32."
            )
        if len(content) == 0 or len(content) % _ROW_BYTES:
            raise SlideError(
                f"{str(self.path)!r} must be rows of {_ROW_BYTES} bytes, got {len(content)} bytes; "
                "download it again."
            )
        rows = content.reshape(-1, _ROW_BYTES)
        if rows[:, 0].max() >= len(CIFAR10_CLASSES):
            raise SlideError(f"{str(self.path)!r} must have labels 0 to 9, got {rows[:, 0].max()}.")
        images_NHW3 = rows[:, 1:].reshape(-1, 3, _SIDE_PX, _SIDE_PX).transpose(0, 2, 3, 1)
        n_tiles = len(rows)
        return SlideTiles(
            facts={
                "slide_id": self.slide_id,
                "patient": None,
                "centre": None,
                "unit": "tile",
                "vendor": "cifar-10",
                "mpp": None,
                "mpp_source": None,
                "dimensions_level0_xy": None,
                "tile_level0_px": None,
                "level": 0,
                "level_mpp": None,
                "resampling": "none",
                "source": self.inputs(),
            },
            tables={
                "level0_xy": np.stack([np.arange(n_tiles) * 0, np.arange(n_tiles)], axis=1),
                "tissue": np.ones(n_tiles, np.float32),
                "label": rows[:, 0].astype(np.int16),
            },
            tiles=as_tiles(
                iter(np.ascontiguousarray(images_NHW3)),
                slide_id=self.slide_id,
                min_focus=self.min_focus,
            ),
        )
