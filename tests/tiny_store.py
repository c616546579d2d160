"""A tile store of small synthetic tiles, made in a moment, for tests of everything above it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medsimclr.files.checksum import sha256_of_value
from medsimclr.store.schema import RootMeta
from medsimclr.store.writer import StoreWriter, Tile

ImagesOf = Callable[[int, int, int], np.ndarray]
CLASSES = ["normal", "tumor"]


def write_tiny_store(
    path: Path,
    *,
    n_patients: int = 6,
    tiles_per_patient: int = 12,
    tile_px: int = 36,
    seed: int = 0,
    images_of: ImagesOf | None = None,
    centres: Sequence[str | None] = ("A",),
    prefix: str = "P",
) -> Path:
    """Write a store of one slide per patient; class 1 tiles are striped, class 0 tiles are not.

    `images_of` (number, side, seed) draws other tiles. Centres take their patients in turn;
    `prefix` begins the patients' names.
    """
    path.mkdir()
    writer = StoreWriter(path, _meta(tile_px, seed))
    rng = np.random.default_rng(seed)
    for patient in range(n_patients):
        label = np.arange(tiles_per_patient) % 2
        if images_of is not None:
            images = images_of(tiles_per_patient, tile_px, patient)
        else:
            shape = (tiles_per_patient, tile_px, tile_px, 3)
            images = rng.integers(150, 220, shape).astype(np.uint8)
            images[label == 1, ::4] -= 120
        writer.write_slide(
            facts={
                "slide_id": f"slide_{patient}",
                "patient": f"{prefix}{patient}",
                "centre": centres[patient % len(centres)],
                "vendor": "synthetic",
                "mpp": 0.5,
                "mpp_source": "--source-mpp",
                "dimensions_level0_xy": (tile_px * tiles_per_patient, tile_px),
                "tile_level0_px": float(tile_px),
                "level": 0,
                "level_mpp": 0.5,
                "resampling": "none",
                "source": {"sha256": "0" * 64},
            },
            tables={
                "level0_xy": np.stack([np.arange(tiles_per_patient) * tile_px, label * 0], axis=1),
                "tissue": np.ones(tiles_per_patient),
                "label": label,
                "coverage": np.eye(2)[label],
            },
            pictures={
                "mask": np.ones((8, 64), np.uint8),
                "thumbnail": np.full((8, 64, 3), 200, np.uint8),
            },
            tiles=[Tile(row, image, (0.0,)) for row, image in enumerate(images)],
        )
    return path


def _meta(tile_px: int, seed: int) -> RootMeta:
    tiling = {"codec": "zstd", "jpeg_quality": 95, "seed": seed}
    return RootMeta(
        schema=2,
        tile_px=tile_px,
        shard_tiles=256,
        mpp=0.5,
        classes=CLASSES,
        quality_names=["focus"],
        tiling=tiling,
        tiling_sha256=sha256_of_value(tiling),
    )


def patches(n_tiles: int, tile_px: int, seed: int) -> np.ndarray:
    """Draw tiles of large patches: of fine noise a network makes always the same."""
    shape = (n_tiles, tile_px // 12, tile_px // 12, 3)
    drawn = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return drawn.repeat(12, axis=1).repeat(12, axis=2)
