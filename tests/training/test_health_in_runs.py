"""Health in real runs: it harms nothing, and a resumed run ends with the same warnings."""

import numpy as np
import pytest

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.errors import CheckpointedError
from medsimclr.training.checkpoint import require_checkpoint
from medsimclr.training.pretrain import pretrain
from medsimclr.training.run_log import read_metrics
from tests.tiny_store import write_tiny_store
from tests.training.signals import stop_after


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_tiny_store(tmp_path_factory.mktemp("store") / "tiny.zarr")


def pretrain_shortly(store, out, **changes):
    """Pretrain on 54 tiles in 7 steps; return the run and what was said beside the figures."""
    lines = []
    settings = {
        "workers": 0,
        "device": "cpu",
        "precision": "fp32",
        "batch_size": 8,
        "epochs": 1,
        "view_px": 36,
        "policy": "simclr",
        **changes,
    }
    config = PretrainConfig(store=store, out=out, **settings)
    pretrain(config, progress=lambda done, total, line: total or lines.append(line))
    return config, lines


def test_watching_changes_no_bit_of_the_training(store, tmp_path):
    watched, lines = pretrain_shortly(store, tmp_path / "watched", health_reports=7)
    alone, _ = pretrain_shortly(store, tmp_path / "alone", health_tiles=0)
    digests = {require_checkpoint(config.out).weights_sha256 for config in (watched, alone)}
    assert len(digests) == 1
    assert lines == ["at chance: loss 5.416, accuracy 0.12, entropy 2.08"]
    before, *_, figures = read_metrics(watched.out)
    assert before.keys() == {
        "step",
        "effective_rank",
        "largest_feature",
        "knn_balanced_accuracy",
    }
    assert [row["step"] for row in read_metrics(watched.out)] == list(range(8))
    assert [row["step"] for row in read_metrics(alone.out)] == list(range(1, 8))
    expected = {"accuracy", "entropy", "alignment", "uniformity", "gradient_norm"}
    assert expected | {"effective_rank", "knn_balanced_accuracy"} < figures.keys()
    assert 1 < figures["effective_rank"] < 512


def test_blank_tiles_are_a_collapse_in_a_real_run(tmp_path):
    blank = write_tiny_store(
        tmp_path / "blank.zarr",
        images_of=lambda n_tiles, tile_px, seed: np.full((n_tiles, tile_px, tile_px, 3), 230, "u1"),
    )
    options = {"jitter_p": 0.0, "grey_p": 0.0, "blur": False}
    _, lines = pretrain_shortly(blank, tmp_path / "run", policy_options=options)
    assert len(lines) == 2
    assert lines[1].startswith("collapse: all tiles get nearly the same features")


def test_a_rate_far_too_high_is_a_collapse_in_a_real_run(store, tmp_path):
    _, lines = pretrain_shortly(store, tmp_path / "run", optimizer="sgd", base_lr=30.0, epochs=3)
    assert any("effective rank 1." in line or "without bound" in line for line in lines), lines


def test_a_resumed_run_logs_the_figures_and_warnings_of_an_uninterrupted_one(store, tmp_path):
    """Views that are all the same are recognised at once, which is said in the first steps."""
    settings = {
        "policy": "none",
        "view_px": 16,
        "epochs": 4,
        "log_seconds": 1e-6,
        "optimizer": "sgd",
    }
    whole, lines = pretrain_shortly(store, tmp_path / "whole", **settings)
    stopped = whole.with_changes(out=tmp_path / "stopped")
    with pytest.raises(CheckpointedError, match="after step 23 of 25"):
        pretrain(stopped, progress=stop_after(23))
    _, resumed = pretrain_shortly(store, stopped.out, **settings)
    assert read_metrics(stopped.out) == read_metrics(whole.out)
    [trivial] = [line for line in lines if "solved before anything is learned" in line]
    assert trivial in read_metrics(whole.out)[-1]["warnings"]
    assert resumed[:2] == ["going on after step 23 of 25", trivial]
