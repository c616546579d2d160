"""Pyramids of noise: pixels differ from their neighbours, levels from each other."""

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

__all__ = ["noise_levels", "write_pyramid"]


def noise_levels(*sizes_xy: tuple[int, int], seed: int = 0) -> list[NDArray[np.uint8]]:
    """Return one (H, W, 3) image of uniform noise for each size."""
    generator = np.random.default_rng(seed)
    return [
        generator.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in sizes_xy
    ]


def write_pyramid(
    path: Path,
    levels: list[NDArray[np.uint8]],
    *,
    pixels_per_cm_xy: tuple[float, float] | None = None,
    unit: str = "CENTIMETER",
    description: str | None = None,
) -> Path:
    """Write lossless 64-px tiles, which OpenSlide opens as generic-tiff or by its description."""
    with tifffile.TiffWriter(path) as tiff:
        for index, level_HW3 in enumerate(levels):
            tiff.write(
                level_HW3,
                tile=(64, 64),
                photometric="rgb",
                compression="zlib",
                resolution=pixels_per_cm_xy,
                resolutionunit=unit if pixels_per_cm_xy else None,
                description=description,
                subfiletype=1 if index else 0,
                metadata=None,
            )
    return path
