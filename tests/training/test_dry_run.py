"""A dry run says what would be, and leaves nothing behind."""

import pytest

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.errors import ConfigError
from medsimclr.training.dry_run import dry_run
from medsimclr.training.pretrain import pretrain
from tests.tiny_store import write_tiny_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_tiny_store(tmp_path_factory.mktemp("store") / "tiny.zarr")


def config_of(store, out, **changes):
    settings = {"workers": 0, "device": "cpu", "precision": "fp32", "batch_size": 8}
    settings |= {"view_px": 32, "policy": "simclr", "epochs": 2, **changes}
    return PretrainConfig(store=store, out=out, **settings)


def test_it_says_what_would_be_trained_and_writes_nothing(store, tmp_path):
    planned = dry_run(config_of(store, tmp_path / "run"))
    assert (planned.tiles, planned.patients) == (48, 4)
    assert planned.steps == 48 * 2 // 8 + 1
    assert planned.encoder_parameters == 11_173_056
    assert planned.seconds_per_step > 0
    assert "would train on 48 tiles of 4 patients" in planned.lines()
    assert list(tmp_path.iterdir()) == []


def test_an_output_of_another_run_is_refused_before_anything_is_computed(store, tmp_path):
    config = config_of(store, tmp_path / "run", epochs=1)
    pretrain(config)
    with pytest.raises(ConfigError, match=r"epochs: 1 -> 2"):
        dry_run(config.with_changes(epochs=2))
