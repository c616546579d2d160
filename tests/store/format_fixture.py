"""The store of `format_2`, which every later version must read.

Made once by `python -m tests.store.format_fixture tests/store/format_2`, on the day when schema 2
was settled; never to be made again, or it would prove nothing.
"""

import sys
from pathlib import Path

import numpy as np

from medsimclr.files.checksum import sha256_of_value
from medsimclr.store.schema import RootMeta
from medsimclr.store.writer import StoreWriter, Tile

CODECS = ("jpeg", "zstd", "raw")
N_TILES = 5


def image(row):
    """Return tile `row`, (8, 8, 3): smooth, so that JPEG holds it well."""
    y, x = np.mgrid[:8, :8]
    return np.stack([x * 9 + 20 * row, y * 11 + 60, 230 - 6 * x - 8 * y], axis=2).astype(np.uint8)


def write(folder: Path) -> None:
    """Write one store of one slide for each codec."""
    for codec in CODECS:
        path = folder / codec
        path.mkdir(parents=True)
        tiling = {"codec": codec, "jpeg_quality": 95, "mpp": 0.5, "tile_px": 8}
        meta = RootMeta(
            schema=2,
            tile_px=8,
            shard_tiles=2,
            mpp=0.5,
            classes=["normal", "tumor"],
            quality_names=["focus", "ink", "blank"],
            mask_thresholds={"min_colour_od": 0.025},
            tiling=tiling,
            tiling_sha256=sha256_of_value(tiling),
        )
        StoreWriter(path, meta).write_slide(
            facts={
                "slide_id": "slide-1",
                "patient": "patient å",
                "centre": "A",
                "vendor": "aperio",
                "mpp": 0.499,
                "mpp_source": "slide",
                "dimensions_level0_xy": (80, 16),
                "tile_level0_px": 8.0,
                "tile_mpp": 0.499,
                "level": 0,
                "level_mpp": 0.499,
                "resampling": "none",
                "reading": "decoded",
                "source": {"sha256": "ab" * 32},
            },
            tables={
                "level0_xy": np.arange(N_TILES)[:, None] * [8, 0] + [0, 8],
                "tissue": np.arange(N_TILES) / 4,
                "label": np.arange(N_TILES) % 3 - 1,
                "coverage": np.linspace([0, 1], [1, 0], N_TILES),
            },
            pictures={
                "mask": np.arange(8, dtype=np.uint8).reshape(2, 4) % 4,
                "thumbnail": np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
            },
            tiles=[Tile(row, image(row), (row + 0.5, 0.25, 0.0)) for row in range(N_TILES)],
            left_out_M3=np.array([[40, 8, 0], [48, 8, 2]]),
        )


if __name__ == "__main__":
    write(Path(sys.argv[1]))
