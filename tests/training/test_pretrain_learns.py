"""Pretraining does what it is for: the contrastive task gets easier with training."""

import pytest

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.training.pretrain import pretrain
from medsimclr.training.run_log import read_metrics
from tests.tiny_store import write_tiny_store


@pytest.mark.slow
def test_contrastive_loss_falls_and_accuracy_rises(tmp_path):
    store = write_tiny_store(tmp_path / "tiny.zarr", n_patients=4, tiles_per_patient=16)
    config = PretrainConfig(
        store=store,
        out=tmp_path / "run",
        workers=0,
        device="cpu",
        epochs=20,
        batch_size=16,
        view_px=16,
        policy="simclr",
        policy_options={"strength": 0.2, "crop_area_min": 0.6, "blur": False},
        test_fraction=0,
    )
    pretrain(config)
    rows = read_metrics(config.out)
    first, last = rows[:10], rows[-10:]
    assert sum(r["loss"] for r in last) < 0.8 * sum(r["loss"] for r in first)
    assert sum(r["accuracy"] for r in last) > 1.5 * sum(r["accuracy"] for r in first)
