"""Pretraining does what it is for: the contrastive task gets easier with training."""

import numpy as np
import pytest

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.training.pretrain import pretrain
from medsimclr.training.run_log import read_metrics
from tests.tiny_store import write_tiny_store


def gratings(n_tiles: int, tile_px: int, seed: int) -> np.ndarray:
    """Tiles that differ in colour and in the spacing and direction of their stripes."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:tile_px, :tile_px]
    tiles = []
    for _ in range(n_tiles):
        along = rows * rng.uniform(-1, 1) + columns * rng.uniform(-1, 1)
        wave = 0.5 + 0.5 * np.sin(along * rng.uniform(0.3, 1.5))
        tiles.append(wave[..., None] * rng.uniform(80, 255, 3))
    return np.array(tiles).astype(np.uint8)


@pytest.mark.slow
def test_contrastive_loss_falls_and_accuracy_rises(tmp_path):
    store = write_tiny_store(
        tmp_path / "tiny.zarr", n_patients=2, tiles_per_patient=32, images_of=gratings
    )
    config = PretrainConfig(
        store=store,
        out=tmp_path / "run",
        workers=0,
        device="cpu",
        epochs=24,
        batch_size=32,
        view_px=36,
        policy="simclr",
        policy_options={"strength": 0.2, "crop_area_min": 0.6, "blur": False},
        test_fraction=0,
    )
    pretrain(config)
    rows = read_metrics(config.out)
    first, last = rows[1:9], rows[-8:]
    assert sum(r["loss"] for r in last) < 0.7 * sum(r["loss"] for r in first)
    assert sum(r["accuracy"] for r in last) > 1.5 * sum(r["accuracy"] for r in first)
