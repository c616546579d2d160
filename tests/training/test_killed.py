"""Killed at named points, twice in a row: the finished weights are those of an unkilled run.

The whole product of points, commands, loader workers and processes is run, on a narrow network.
"""

from pathlib import Path

import pytest

from medsimclr.files.checksum import sha256_of_file
from medsimclr.training.checkpoint import require_checkpoint
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
    "in_evaluation": (1, 1),
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

    def __init__(self, folder: Path) -> None:
        self.starts = Starts(folder)
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
def lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.starts.close()


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
