"""One run of `natural.py`, in a process of its own: ours, lightly's, or an encoder that learns not.

Usage: python benchmarks/natural_runs.py TASK          TASK: a JSON object, the fields of `Task`
"""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from cpu_budget import pretrain_timed, step_cpu_seconds, throwaway
from frozen_features import accuracies
from lightly_run import LIGHTLY_BASE_LR, Rival, starting_encoder, train_lightly

from medsimclr.cli.options import exit_on_error
from medsimclr.config.base import load_toml
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.data.split import Part, is_in, read_split
from medsimclr.data.tile_index import TileIndex, index_tiles
from medsimclr.models.resnet import ResNet
from medsimclr.optim.schedule import total_steps
from medsimclr.store.reader import TileStore
from medsimclr.training.compute import choose_compute
from medsimclr.training.networks import load_simclr

__all__ = ["CONTENDERS", "Contender", "Task", "tiles_of"]

Contender = Literal["ours", "lightly", "random"]
CONTENDERS: tuple[Contender, ...] = ("ours", "lightly", "random")
_WARM_UP_STEPS = 2


@dataclass(frozen=True)
class Task:
    """What one process is to do."""

    contender: Contender
    store: str
    recipe: str
    """TOML file of our configuration; the others take encoder, views and batch size from it."""
    split: str
    folder: str
    """Folder of this run alone."""
    seed: int
    epochs: int
    base_lr: float | None = None
    """Instead of the contender's own."""
    measured_steps: int = 0
    """Above 0: only measure the CPU seconds of so many steps."""
    is_trial: bool = False
    """Choose by it: kNN alone, of a fifth of the training tiles among the others."""
    rival_python: str = ""
    rival_precision: Literal["fp32", "bf16"] = "fp32"

    def record(self) -> dict[str, Any]:
        """Return what decides the result: no places, and of the recipe its content."""
        places = {"store", "split", "folder", "rival_python"}
        fields = {key: value for key, value in asdict(self).items() if key not in places}
        return {**fields, "recipe": load_toml(Path(self.recipe))}

    def run(self) -> dict[str, Any]:
        """Do it in this process; return the result as JSON values."""
        folder = Path(self.folder)
        if self.measured_steps:
            return {"step_cpu_seconds": statistics.median(_step_seconds(self))}
        # Beside the result, so that a kill in the evaluation costs no training.
        trained = folder / "trained.json"
        if not trained.is_file():
            partial = trained.with_suffix(".partial")
            partial.write_text(json.dumps(_train(self)), encoding="utf-8")
            partial.rename(trained)
        cost: dict[str, Any] = json.loads(trained.read_text(encoding="utf-8"))
        bank, queries = tiles_of(self, "train"), tiles_of(self, "test")
        if self.is_trial:
            is_query_N = bank.id_N % 5 == 0
            bank, queries = bank.select(~is_query_N), bank.select(is_query_N)
        return cost | accuracies(
            _encoder(self),
            Path(self.store),
            train=bank,
            test=queries,
            view_px=_config(self).view_px,
            seed=self.seed,
            is_probed=not self.is_trial,
        )

    def run_apart(self) -> dict[str, Any]:
        """Do it in a process of one thread; return the result.

        Raises:
            SystemExit: it failed; its own words are on stderr.
        """
        done = subprocess.run(
            [sys.executable, __file__, json.dumps(asdict(self))],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"the run in {self.folder!r} failed; run the same command again.")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result


def tiles_of(task: Task, part: Part) -> TileIndex:
    """Return the tiles of the training or of the test files."""
    index = index_tiles(TileStore(Path(task.store)))
    return index.select(is_in(part, index.patient_N, read_split(Path(task.split))))


def _config(task: Task) -> PretrainConfig:
    changes: dict[str, Any] = {"epochs": task.epochs, "seed": task.seed, "split": task.split}
    if task.base_lr is not None and task.contender == "ours":
        changes["base_lr"] = task.base_lr
    places = {"store": task.store, "out": Path(task.folder) / "run"}
    return PretrainConfig.model_validate({**load_toml(Path(task.recipe)), **changes, **places})


def _train(task: Task) -> dict[str, Any]:
    """Train to the end; return what it cost."""
    if task.contender == "random":
        return {}
    config = _config(task)
    n_steps = total_steps(len(tiles_of(task, "train")), config.batch_size, config.epochs)
    if task.contender == "ours":
        # A run that went on after a kill knows the cost of its later steps alone.
        seconds = pretrain_timed(config) or _step_seconds(task)
        facts: dict[str, Any] = {"precision": choose_compute(config).precision}
    else:
        report = _lightly(task, n_steps=n_steps)
        seconds = report["step_cpu_seconds"]
        facts = {"precision": task.rival_precision, "versions": report["versions"]}
    mean = statistics.mean(seconds)
    return facts | {
        "steps": n_steps,
        "train_cpu_minutes": mean * n_steps / 60,
        "images_per_cpu_second": 2 * config.batch_size / mean,
    }


def _step_seconds(task: Task) -> list[float]:
    """Return the CPU seconds of a few steps, after some that do not count."""
    n_steps = max(task.measured_steps, 1)
    if task.contender == "ours":
        out = throwaway(Path(task.folder), "step")
        return [step_cpu_seconds(_config(task).with_changes(out=out), n_steps=n_steps)]
    report = _lightly(task, n_steps=n_steps + _WARM_UP_STEPS + 1)
    return list(report["step_cpu_seconds"][_WARM_UP_STEPS:])


def _lightly(task: Task, *, n_steps: int) -> dict[str, Any]:
    base_lr = LIGHTLY_BASE_LR if task.base_lr is None else task.base_lr
    return train_lightly(
        _config(task),
        Rival(task.rival_python, task.rival_precision, base_lr),
        tiles=tiles_of(task, "train"),
        n_steps=n_steps,
        weights=_weights(task),
    )


def _encoder(task: Task) -> ResNet:
    """Return the encoder that the contender ended with."""
    if task.contender == "ours":
        return load_simclr(_config(task).out)[0].encoder
    encoder = starting_encoder(_config(task))
    if task.contender == "lightly":
        encoder.load_state_dict(torch.load(_weights(task), weights_only=True))
    return encoder


def _weights(task: Task) -> Path:
    return Path(task.folder) / "encoder.pt"


def main() -> None:
    """Print the result of the task as JSON."""
    torch.set_num_threads(1)
    print(json.dumps(Task(**json.loads(sys.argv[1])).run()))


if __name__ == "__main__":
    with exit_on_error():
        main()
