"""What stops a training from outside or inside: signals at any moment, and a loss that is none."""

import random
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medsimclr.files.checksum import sha256_of_file
from medsimclr.training.checkpoint import latest_checkpoint, require_checkpoint
from medsimclr.training.checkpoint_files import STATE, WEIGHTS
from medsimclr.training.run_log import read_metrics
from medsimclr.training.stop import StopFlag, remember_signals, stop_on_signals
from tests.tiny_store import write_tiny_store
from tests.training.kills.starts import Poison, SignalAt, Starts

SETTINGS = ["--device", "cpu", "--batch-size", "4", "--epochs", "4", "--workers", "2"]
SETTINGS += ["--view-px", "16", "--policy", "simclr", "--test-fraction", "0"]
for setting in ("precision=fp32", "health_tiles=0", "log_seconds=1e-6", "threads=1"):
    SETTINGS += ["--set", setting]


class Lab:
    """A store, and the weights of a run that nothing stopped."""

    def __init__(self, starts: Starts, folder: Path) -> None:
        self.starts = starts
        self._store = write_tiny_store(folder / "tiny.zarr", n_patients=3, tiles_per_patient=8)
        self._folder = folder
        self._whole: dict[int, str] = {}

    def words(self, out: Path) -> list[object]:
        """Return a command line of 25 steps."""
        return ["pretrain", *SETTINGS, self._store, "--out", out]

    def digest(self, *, n_ranks: int) -> str:
        """Return the digest of the weights of an undisturbed run."""
        if n_ranks not in self._whole:
            out = self._folder / f"whole_{n_ranks}"
            ended = self.starts.run(*self.words(out), n_ranks=n_ranks)
            assert ended.codes == [0] * n_ranks, ended.outputs
            self._whole[n_ranks] = weights_digest(out)
        return self._whole[n_ranks]


def weights_digest(run: Path) -> str:
    return sha256_of_file(require_checkpoint(run).folder / "model.safetensors")


@pytest.fixture(scope="module")
def lab(starts, tmp_path_factory):
    return Lab(starts, tmp_path_factory.mktemp("lab"))


@pytest.mark.parametrize("time", range(10))
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signal_at_a_random_moment_checkpoints(lab, tmp_path, number, time):
    """Half of them while the command imports, opens and builds, half while it trains.

    Every other run is one of two processes, of which all are told, or one alone.
    """
    draw = random.Random(f"{number} {time}")
    n_ranks = 1 + time % 2
    rank = (None, 0, 1)[time // 2 % 3] if n_ranks == 2 else (None, 0)[time // 2 % 2]
    words = lab.words(tmp_path / "run")
    signal_at = SignalAt(
        number,
        seconds=draw.uniform(0, 0.4),
        after=None if time < 5 else tmp_path / "run" / "metrics.jsonl",
        rank=rank,
    )
    stopped = lab.starts.run(*words, n_ranks=n_ranks, signal_at=signal_at)
    assert stopped.codes == [75] * n_ranks, stopped.outputs
    assert f"stopped by {number.name} after step" in stopped.outputs[0]
    checkpoint, damaged = latest_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    assert not damaged
    assert checkpoint.step == read_metrics(tmp_path / "run")[-1]["step"]
    ended = lab.starts.run(*words, n_ranks=n_ranks)
    assert ended.codes == [0] * n_ranks, ended.outputs
    assert weights_digest(tmp_path / "run") == lab.digest(n_ranks=n_ranks)


@pytest.mark.parametrize(("n_ranks", "rank"), [(1, 0), (2, 0), (2, 1)])
def test_non_finite_loss_stops_all_before_the_update(lab, tmp_path, n_ranks, rank):
    words = [*lab.words(tmp_path / "run"), "--set", "checkpoint_minutes=1e-9"]
    ended = lab.starts.run(*words, n_ranks=n_ranks, poison=Poison(n=4, rank=rank))
    assert ended.codes == [8] * n_ranks, ended.outputs
    assert "the loss of step 4 must be finite, got nan; nothing was updated" in ended.outputs[0]
    checkpoint = require_checkpoint(tmp_path / "run")
    assert checkpoint.step == 3
    files = [load_file(checkpoint.folder / name) for name in (WEIGHTS, STATE)]
    tensors = [tensor for file in files for tensor in file.values()]
    assert all(torch.isfinite(tensor).all() for tensor in tensors)
    ended = lab.starts.run(*words, n_ranks=n_ranks)
    assert ended.codes == [0] * n_ranks, ended.outputs
    assert weights_digest(tmp_path / "run") == lab.digest(n_ranks=n_ranks)


def test_signal_before_the_loop_is_seen_by_the_loop():
    remember_signals()
    signal.raise_signal(signal.SIGUSR1)
    with stop_on_signals() as stop:
        assert stop.signal is signal.SIGUSR1
    # A second one, which some schedulers send, must not kill the process as it ends.
    signal.raise_signal(signal.SIGTERM)


def test_handlers_are_put_back_after_the_loop(handlers):
    with stop_on_signals() as stop:
        assert stop.signal is None
    after = {number: signal.getsignal(number) for number in handlers}
    assert after == handlers


def test_second_ctrl_c_ends_at_once():
    flag = StopFlag()
    flag.set(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        flag.set(signal.SIGINT, None)
