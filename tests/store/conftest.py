"""Small stores written by the writer itself."""

import hashlib
import json

import numpy as np
import pytest

from medsimclr.files.checksum import sha256_of_value
from medsimclr.store.schema import RootMeta
from medsimclr.store.writer import StoreWriter, Tile

_FACTS = {
    "patient": "p1",
    "centre": None,
    "vendor": "test",
    "mpp": 0.5,
    "mpp_source": "--source-mpp",
    "dimensions_level0_xy": (100, 80),
    "tile_level0_px": 8.0,
    "level": 0,
    "level_mpp": 0.5,
    "resampling": "none",
    "source": {"sha256": "0" * 64},
}


def _root_meta(*, codec="zstd", tile_px=8, shard_tiles=256, classes=("a", "b"), **tiling):
    tiling = {"codec": codec, "jpeg_quality": 95, "tile_px": tile_px, **tiling}
    return RootMeta(
        schema=2,
        tile_px=tile_px,
        shard_tiles=shard_tiles,
        mpp=0.5,
        classes=list(classes),
        quality_names=["focus"],
        tiling=tiling,
        tiling_sha256=sha256_of_value(tiling),
    )


@pytest.fixture(scope="session")
def root_meta():
    """Return the function that makes the metadata of a store."""
    return _root_meta


@pytest.fixture(scope="session")
def write_store():
    """Return the function that writes a store of one slide for each of the given images."""

    def write(path, images_of, *, labels=None, pictures=None, **meta_options):
        tile_px = next(iter(images_of.values())).shape[1]
        path.mkdir()
        writer = StoreWriter(path, _root_meta(tile_px=tile_px, **meta_options))
        for slide_id, images_NHW3 in images_of.items():
            n_tiles = len(images_NHW3)
            writer.write_slide(
                facts={"slide_id": slide_id, **_FACTS},
                tables={
                    "level0_xy": np.arange(n_tiles)[:, None] * [8, 16],
                    "tissue": np.linspace(0, 1, n_tiles),
                    "label": np.arange(n_tiles) % 2 if labels is None else labels,
                    "coverage": np.zeros((n_tiles, 2), np.float32),
                },
                pictures=pictures or {},
                tiles=[Tile(row, image, (float(row),)) for row, image in enumerate(images_NHW3)],
            )
        return path

    return write


@pytest.fixture(scope="session")
def noise():
    """Return the function that makes tiles of noise, smoothed so that JPEG can hold them."""

    def make(n_tiles, tile_px, *, seed=0):
        generator = np.random.default_rng(seed)
        coarse = generator.integers(40, 216, (n_tiles, 2, 2, 3))
        smooth = np.kron(coarse, np.ones((1, tile_px // 2, tile_px // 2, 1), int))
        grain = generator.integers(-8, 8, (n_tiles, tile_px, tile_px, 3))
        return (smooth + grain).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def forge():
    """Return the function that changes a slide's metadata as a forger would, digest included."""

    def change(path, **values):
        document = json.loads(path.read_text())
        content = document["attributes"]["medsimclr"]
        content.update(values)
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
        document["attributes"]["medsimclr_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        path.write_text(json.dumps(document))

    return change
