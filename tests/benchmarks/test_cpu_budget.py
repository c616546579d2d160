"""What a budget of CPU time buys."""

import pytest
from cpu_budget import StepClock, epochs_within, pretrain_timed, step_cpu_seconds

from medsimclr.config.pretrain import PretrainConfig
from tests.tiny_store import write_tiny_store


@pytest.fixture
def config(tmp_path):
    store = write_tiny_store(tmp_path / "tiny.zarr", tile_px=32)
    return PretrainConfig(
        store=store, out=tmp_path / "run", batch_size=8, view_px=16, epochs=2, policy="simclr",
        stem="standard", device="cpu", precision="fp32",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cpu_seconds", "epochs"),
    # 100 tiles in batches of 10: n epochs are 10 n + 1 steps, of 0.5 s each.
    [(10.5, 2), (10.49, 1), (15.5, 3), (0.1, 1)],
)
def test_whole_epochs_fit_into_the_budget(cpu_seconds, epochs):
    assert epochs_within(cpu_seconds, step_seconds=0.5, n_tiles=100, batch_size=10) == epochs


def test_a_clock_of_n_ends_has_seen_n_less_one_steps():
    assert StepClock(marks=[1.0, 3.0, 3.5]).step_seconds() == [2.0, 0.5]


def test_every_step_of_a_pretraining_is_timed_and_the_run_is_the_same(config):
    assert len(pretrain_timed(config)) == 48 * 2 // 8  # of one step more
    assert (config.out / "checkpoints").is_dir()


def test_a_measured_pretraining_stops_after_its_steps(config):
    seconds = step_cpu_seconds(config.with_changes(epochs=1000), n_steps=2)
    assert 0 < seconds < 60
