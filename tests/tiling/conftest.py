"""Synthetic slides: a pyramid whose every pixel is known, and what no store can be made of."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from medsimclr.config.tile import TileConfig
from medsimclr.tiling.tile import tile

# Left of this there is glass, right of it tissue.
_TISSUE_FROM_X = 320
_SIZE_XY = (1200, 1000)


@dataclass(frozen=True)
class Pyramid:
    """A written slide and the pixels of its levels, (H, W, 3)."""

    path: Path
    levels: list[NDArray[np.uint8]]
    tissue_from_x: int


def _tissue(seed, size_xy=_SIZE_XY):
    width, height = size_xy
    generator = np.random.default_rng(seed)
    image = np.full((height, width, 3), 245, np.uint8)
    tissue = image[:, _TISSUE_FROM_X:]
    tissue[...] = np.array([190, 110, 165]) + generator.integers(-25, 26, tissue.shape)
    return image


def _halved(image_HW3):
    height, width = image_HW3.shape[0] // 2, image_HW3.shape[1] // 2
    means = image_HW3.reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
    return np.rint(means).astype(np.uint8)


@pytest.fixture(scope="session")
def write_slide():
    """Return the function that writes a pyramid of three levels as an uncompressed tiled TIFF."""

    def write(path, *, mpp=0.5, seed=0, blank=False, size_xy=_SIZE_XY):
        level0 = _tissue(seed, size_xy)
        if blank:
            level0[...] = 245
        levels = [level0, _halved(level0), _halved(_halved(level0))]
        resolution = (1e4 / mpp, 1e4 / mpp) if mpp else None
        with tifffile.TiffWriter(path) as tiff:
            for index, level in enumerate(levels):
                tiff.write(
                    level,
                    tile=(64, 64),
                    photometric="rgb",
                    resolution=resolution,
                    resolutionunit="CENTIMETER" if mpp else None,
                    subfiletype=1 if index else 0,
                    metadata=None,
                )
        return Pyramid(path, levels, _TISSUE_FROM_X)

    return write


@pytest.fixture(scope="session")
def write_geojson():
    """Return the function that writes polygons of classes, as QuPath does."""

    def write(path, polygons):
        features = [
            {
                "type": "Feature",
                "properties": {"classification": {"name": name}},
                "geometry": {"type": "Polygon", "coordinates": [[*map(list, ring), list(ring[0])]]},
            }
            for name, ring in polygons
        ]
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return path

    return write


@pytest.fixture
def run_tile(tmp_path):
    """Return the function that tiles into s.zarr, with options for small lossless tiles."""

    def run(*inputs, **options):
        defaults = {"out": tmp_path / "s.zarr", "mpp": 0.5, "tile_px": 64, "codec": "zstd"}
        return tile(TileConfig(inputs=list(inputs), **{**defaults, **options}))

    return run


@pytest.fixture(scope="session")
def bytes_of():
    """Return the function that reads every file below a folder."""

    def read(folder):
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }

    return read
