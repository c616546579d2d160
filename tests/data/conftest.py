"""Tile indices made by hand, and one small store."""

import numpy as np
import pytest

from medsimclr.data.tile_index import TileIndex
from medsimclr.files.checksum import sha256_of_value
from medsimclr.store.schema import RootMeta
from medsimclr.store.writer import StoreWriter, Tile


@pytest.fixture
def make_index():
    """Return the function that makes an index out of each tile's label and patient."""

    def make(labels, patients):
        patient_N = np.array(patients, np.str_)
        slide_N = np.unique(patient_N, return_inverse=True)[1].astype(np.int64)
        id_N = np.arange(len(labels), dtype=np.int64)
        return TileIndex(
            id_N=id_N,
            slide_N=slide_N,
            row_N=id_N.copy(),
            label_N=np.array(labels, np.int64),
            patient_N=patient_N,
            unit_N=patient_N,
            level0_xy_N2=np.stack([id_N * 10, id_N * 0], axis=1),
        )

    return make


@pytest.fixture(scope="session")
def store_path(tmp_path_factory):
    """A store of three slides of 12 noise tiles of 40 px; the last has no patient of its own."""
    path = tmp_path_factory.mktemp("data") / "s.zarr"
    path.mkdir()
    tiling = {"codec": "raw", "jpeg_quality": 95}
    meta = RootMeta(
        schema=2,
        shard_tiles=256,
        tile_px=40,
        mpp=None,
        classes=["a", "b"],
        quality_names=["focus"],
        tiling=tiling,
        tiling_sha256=sha256_of_value(tiling),
    )
    writer = StoreWriter(path, meta)
    generator = np.random.default_rng(0)
    for slide_id, patient, unit in [
        ("s1", "p", "patient"),
        ("s2", "p", "patient"),
        ("s3", None, "tile"),
    ]:
        images_NHW3 = generator.integers(0, 256, (12, 40, 40, 3), np.uint8)
        writer.write_slide(
            facts={
                "slide_id": slide_id,
                "patient": patient,
                "centre": None,
                "unit": unit,
                "vendor": "test",
                "mpp": None,
                "mpp_source": None,
                "dimensions_level0_xy": None,
                "tile_level0_px": None,
                "level": None,
                "level_mpp": None,
                "resampling": None,
                "source": {},
            },
            tables={
                "level0_xy": np.stack([np.arange(12) * 40, np.zeros(12)], axis=1),
                "tissue": np.ones(12),
                "label": np.arange(12) % 3 - 1,
            },
            pictures={},
            tiles=[Tile(row, image_HW3, (1.0,)) for row, image_HW3 in enumerate(images_NHW3)],
        )
    return path
