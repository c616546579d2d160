"""Killed at named points, twice in a row: the finished weights are those of an unkilled run.

The whole product of points, commands, loader workers and processes is run, on a narrow network.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medsimclr.files.checksum import sha256_of_file
from medsimclr.training.checkpoint import require_checkpoint
from medsimclr.training.run_log import read_metrics
from tests.tiny_store import write_tiny_store
from tests.training.kills.starts import KillAt, Starts

SETTINGS = ["--device", "cpu", "--batch-size", "4", "--epochs", "1"]
for setting in (
    "precision=fp32",
    "checkpoint_minutes=1e-9",
    "lost_process_seconds=20",
    "threads=1",
):
    SETTINGS += ["--set", setting]
VIEWS = ["--view-px", "16", "--policy", "simclr", "--test-fraction", "0"]
VIEWS += ["--set", "health_tiles=4"]
COMMANDS = ["pretrain", "finetune", "distill"]

# At which time there the first and the second start are killed. Every start saves after each of
# its steps, of 7 in all; it prunes from the third checkpoint of a run on.
TIMES = {
    "run_directory_half_made": (1, 1),
    "loading_a_batch": (2, 1),
    "between_backward_and_update": (3, 2),
    "between_update_and_log": (3, 2),
    "in_evaluation": (1, 2),
    "in_the_log": (1, 3),
    "in_the_weights": (3, 2),
    "files_without_manifest": (1, 2),
    "in_the_manifest": (2, 1),
    "manifest_before_rename": (2, 2),
    "renamed_before_pruning": (3, 1),
    "in_pruning": (2, 1),
    "after_the_last_checkpoint": (1, 1),
}
# Where every process comes by, and not only the one that writes, the last one is killed.
EVERYWHERE = {"loading_a_batch", "between_backward_and_update", "between_update_and_log"}


class Lab:
    """A store, and unkilled runs of each command by which others are judged."""

    def __init__(self, starts: Starts, folder: Path) -> None:
        self.starts = starts
        self.store = write_tiny_store(folder / "tiny.zarr", n_patients=3, tiles_per_patient=8)
        self._folder = folder
        self._whole: dict[tuple[str, int], str] = {}

    def words(self, command: str, out: Path, *, workers: int) -> list[object]:
        """Return a command line."""
        words = [command, *SETTINGS, "--out", out, "--workers", workers]
        if command == "pretrain":
            return [*words, *VIEWS, self.store]
        before = {"finetune": "pretrain", "distill": "finetune"}[command]
        self.digest(before, n_ranks=1)
        words += ["--store", self.store, self._out(before, n_ranks=1)]
        return [*words, "--labels", 24] if command == "finetune" else words

    def digest(self, command: str, *, n_ranks: int) -> str:
        """Return the digest of an unkilled run's weights."""
        if (command, n_ranks) not in self._whole:
            out = self._out(command, n_ranks=n_ranks)
            ended = self.starts.run(*self.words(command, out, workers=0), n_ranks=n_ranks)
            assert ended.codes == [0] * n_ranks, ended.outputs
            self._whole[command, n_ranks] = weights_digest(out)
        return self._whole[command, n_ranks]

    def _out(self, command: str, *, n_ranks: int) -> Path:
        return self._folder / f"{command}_{n_ranks}"


def weights_digest(run: Path) -> str:
    return sha256_of_file(require_checkpoint(run).folder / "model.safetensors")


@pytest.fixture(scope="module")
def lab(starts, tmp_path_factory):
    return Lab(starts, tmp_path_factory.mktemp("lab"))


@pytest.mark.parametrize("n_ranks", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("point", TIMES)
def test_killed_twice(lab, tmp_path, point, command, workers, n_ranks):
    words = lab.words(command, tmp_path / "run", workers=workers)
    rank = n_ranks - 1 if point in EVERYWHERE else 0
    for n, whole_group in zip(TIMES[point], (n_ranks == 1, True), strict=True):
        kill = KillAt(point, n, rank=rank, whole_group=whole_group)
        killed = lab.starts.run(*words, n_ranks=n_ranks, kill=kill)
        assert killed.was_killed, killed.outputs
        assert killed.codes[rank] == -9
        assert 0 not in killed.codes or point == "after_the_last_checkpoint"
        assert "hanging" not in killed.codes
    ended = lab.starts.run(*words, n_ranks=n_ranks)
    assert ended.codes == [0] * n_ranks, ended.outputs
    assert weights_digest(tmp_path / "run") == lab.digest(command, n_ranks=n_ranks)
    first = 0 if command == "pretrain" else 1
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == list(range(first, 8))


def test_loader_workers_end_with_their_training(lab, tmp_path):
    """By themselves they would keep its lock for seconds, and the next start would be refused."""
    words = lab.words("pretrain", tmp_path / "run", workers=2)
    killed = lab.starts.run(*words, kill=KillAt("in_the_log", 1, whole_group=False))
    assert killed.codes == [-9]
    assert lab.starts.run(*words).codes == [0]


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: flipped(content)])
def test_damaged_checkpoint_is_passed_over_and_the_run_ends_the_same(lab, tmp_path, name, damage):
    words = lab.words("pretrain", tmp_path / "run", workers=0)
    assert lab.starts.run(*words, kill=KillAt("between_update_and_log", 4)).codes == [-9]
    newest = require_checkpoint(tmp_path / "run")
    assert newest.step == 3
    (newest.folder / name).write_bytes(damage((newest.folder / name).read_bytes()))
    ended = lab.starts.run(*words)
    assert ended.codes == [0]
    assert f"{str(newest.folder)!r} is damaged" in ended.outputs[0]
    assert "going on from step 2, the last that is whole" in ended.outputs[0]
    assert weights_digest(tmp_path / "run") == lab.digest("pretrain", n_ranks=1)


def flipped(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    return bytes(changed)


@pytest.mark.slow
def test_torchrun_with_one_process_killed_ends_and_is_resumed(lab, tmp_path):
    """The real thing, but for the narrow network."""
    words = lab.words("pretrain", tmp_path / "run", workers=2)
    began = time.monotonic()
    killed = torchrun(*words, kill=KillAt("between_backward_and_update", 3, 1, whole_group=False))
    assert killed.returncode == 1, killed.stderr
    # By itself: not by torchrun's patience of 30 s, nor by the timeout of its own.
    assert "process 1 of 2 waited in vain for another one" in killed.stderr
    assert time.monotonic() - began < 60
    assert require_checkpoint(tmp_path / "run").step == 2
    ended = torchrun(*words)
    assert ended.returncode == 0, ended.stderr
    assert weights_digest(tmp_path / "run") == lab.digest("pretrain", n_ranks=2)


def torchrun(*words: object, kill: KillAt | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in two processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*launcher, "-m", "tests.training.kills.warm", *map(str, words)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", "KILL": json.dumps(kill and vars(kill))},
        capture_output=True,
        text=True,
        timeout=200,
    )
