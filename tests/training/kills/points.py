"""Named points at which a training is killed, and other mischief, as patches of the library.

Patched in the process that trains, or in a rank of it, and inherited by its loader workers. The
library knows nothing of this.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from medsimclr.cli import distill, finetune, pretrain
from medsimclr.data.views import TileViews
from medsimclr.optim.lars import LARS
from medsimclr.training import checkpoint, health, run_directory, tile_training
from medsimclr.training.run_log import RunLog

__all__ = ["POINTS", "Kill", "be_slow", "poison", "say_when_signals_are_remembered"]


class Kill:
    """Ends the process of a rank, or its whole group with it, when it is called the n-th time."""

    def __init__(self, *, n: int, whole_group: bool, fired: Path) -> None:
        self._left = n
        self._whole_group = whole_group
        self._fired = fired
        self._rank_process = os.getpid()

    def __call__(self, do_before: Callable[[], object] = lambda: None) -> None:
        self._left -= 1
        if self._left == 0:
            do_before()
            self._fired.touch()
            if self._whole_group:
                os.killpg(0, signal.SIGKILL)
            # In a loader worker, too, it is the training that dies.
            os.kill(self._rank_process, signal.SIGKILL)
            signal.pause()

    def before(self, owner: object, name: str) -> None:
        """Kill at the beginning of a function."""
        original = getattr(owner, name)

        def patched(*arguments, **named):
            self()
            return original(*arguments, **named)

        setattr(owner, name, patched)

    def after(self, owner: object, name: str) -> None:
        """Kill at the end of a function."""
        original = getattr(owner, name)

        def patched(*arguments, **named):
            result = original(*arguments, **named)
            self()
            return result

        setattr(owner, name, patched)


def _in_the_weights(kill: Kill) -> None:
    original = checkpoint.save_file

    def patched(tensors, path):
        original(tensors, path)
        if path.name == "model.safetensors":
            kill(lambda: os.truncate(path, path.stat().st_size // 2))

    checkpoint.save_file = patched


def _in_the_manifest(kill: Kill) -> None:
    original = checkpoint.write_json

    def patched(path, content):
        kill(lambda: path.with_name("manifest.json.partial").write_text('{\n  "step": '))
        original(path, content)

    checkpoint.write_json = patched


def _in_pruning(kill: Kill) -> None:
    original = checkpoint.remove_folder

    def patched(folder):
        def begin():
            doomed = folder.with_name(folder.name + ".partial")
            folder.rename(doomed)
            (doomed / "model.safetensors").unlink()

        kill(begin)
        original(folder)

    checkpoint.remove_folder = patched


def _in_evaluation(kill: Kill) -> None:
    """Between the features and their rank; where nothing is measured, where it would be."""
    kill.before(health, "rank_me")
    original = tile_training.train

    def patched(*arguments, network, observe, **named):
        def killed(step, figures):
            if network.kind == "classifier":
                kill()
            return observe(step, figures)

        original(*arguments, network=network, observe=killed, **named)

    tile_training.train = patched


def be_slow(step_seconds: float) -> None:
    """Give a signal time to come."""
    original = LARS.step

    def patched(*arguments):
        time.sleep(step_seconds)
        original(*arguments)

    LARS.step = patched


def say_when_signals_are_remembered(file: Path) -> None:
    """Write a file when a command has begun to remember signals."""
    for command in (pretrain, finetune, distill):
        original = command.remember_signals
        command.remember_signals = lambda original=original: (original(), file.write_text("now"))


def poison(n: int) -> None:
    """Make the loss of the n-th step not a number, and its gradient too, in this process."""
    original, left = tile_training.train, [n]

    def patched(*arguments, accumulate, module, **named):
        def poisoned(batch):
            figures = dict(accumulate(batch))
            left[0] -= 1
            if left[0] == 0:
                figures["loss"] = figures["loss"] * float("nan")
                for weight in module.parameters():
                    weight.grad.mul_(float("nan"))
            return figures

        original(*arguments, accumulate=poisoned, module=module, **named)

    tile_training.train = patched


POINTS: dict[str, Callable[[Kill], None]] = {
    "run_directory_half_made": lambda kill: kill.before(run_directory, "write_split"),
    "loading_a_batch": lambda kill: kill.before(TileViews, "_batch"),
    "between_backward_and_update": lambda kill: kill.before(LARS, "step"),
    "between_update_and_log": lambda kill: kill.after(LARS, "step"),
    "in_evaluation": _in_evaluation,
    "in_the_log": lambda kill: kill.after(RunLog, "step"),
    "in_the_weights": _in_the_weights,
    "files_without_manifest": lambda kill: kill.after(checkpoint, "sync_tree"),
    "in_the_manifest": _in_the_manifest,
    "manifest_before_rename": lambda kill: kill.after(checkpoint, "write_json"),
    "renamed_before_pruning": lambda kill: kill.before(checkpoint, "_prune"),
    "in_pruning": _in_pruning,
    "after_the_last_checkpoint": lambda kill: kill.after(tile_training, "train"),
}
"""What is patched so that a `Kill` happens there."""
