"""Checkpoints: weights as safetensors, training state without pickled code, a manifest last.

checkpoints/step_00000120/model.safetensors   weights and batch-norm statistics
checkpoints/step_00000120/state.pt            optimiser state; loads with weights_only=True
checkpoints/step_00000120/manifest.json       step, network, SHA-256 of both; written last
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from medsimclr.errors import IntegrityError, NoInputError
from medsimclr.files.atomic import PARTIAL_SUFFIX, output_errors, sync_folder, sync_tree, write_json
from medsimclr.files.checksum import sha256_of_file

__all__ = [
    "Checkpoint",
    "discard_after",
    "latest_checkpoint",
    "require_checkpoint",
    "save_checkpoint",
]

_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files are what its manifest says."""

    folder: Path
    step: int
    network: dict[str, Any]
    """What `networks` needs to build the module again."""
    weights_sha256: str

    def identity(self) -> dict[str, Any]:
        """Return what tells these weights from all others."""
        return {"step": self.step, "weights_sha256": self.weights_sha256}

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the weights by name, on the CPU."""
        try:
            return load_file(self.folder / "model.safetensors")
        except SafetensorError as error:
            raise IntegrityError(
                f"{str(self.folder)!r} holds no readable weights: {error}."
            ) from error

    def state(self) -> dict[str, Any]:
        """Return the training state, on the CPU."""
        loaded = torch.load(self.folder / "state.pt", weights_only=True, map_location="cpu")
        assert isinstance(loaded, dict)
        return loaded


def save_checkpoint(
    checkpoints: Path,
    *,
    step: int,
    module: nn.Module,
    state: Mapping[str, Any],
    network: Mapping[str, Any],
) -> None:
    """Write a checkpoint in one durable step and drop all but the last two.

    Args:
        checkpoints: the run's `checkpoints` folder.
        step: steps done.
        module: its weights and buffers are saved.
        state: optimiser state, tensors and plain values.
        network: see `Checkpoint.network`.
    """
    folder = checkpoints / f"step_{step:08d}"
    partial = folder.with_name(folder.name + PARTIAL_SUFFIX)
    with output_errors(folder):
        for old in (partial, folder):
            if old.exists():
                shutil.rmtree(old)
        partial.mkdir(parents=True)
        weights = {key: value.contiguous() for key, value in module.state_dict().items()}
        save_file(weights, partial / "model.safetensors")
        torch.save(dict(state), partial / "state.pt")
        sync_tree(partial)
        files = {path.name: sha256_of_file(path) for path in sorted(partial.iterdir())}
        write_json(
            partial / "manifest.json", {"step": step, "network": dict(network), "files": files}
        )
        partial.rename(folder)
        sync_folder(checkpoints)
    for old in sorted(checkpoints.glob("step_*"))[:-_KEPT]:
        shutil.rmtree(old)


def discard_after(run: Path, step: int) -> None:
    """Delete checkpoints of later steps: damaged ones, which would outlive their successors."""
    for folder in (run / "checkpoints").glob("step_????????"):
        if int(folder.name.removeprefix("step_")) > step:
            shutil.rmtree(folder)


def latest_checkpoint(run: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest checkpoint that is whole, and a sentence for each one passed over."""
    damaged: list[str] = []
    for folder in sorted((run / "checkpoints").glob("step_????????"), reverse=True):
        try:
            return _verified(folder), damaged
        except IntegrityError as error:
            damaged.append(str(error))
    return None, damaged


def require_checkpoint(run: Path) -> Checkpoint:
    """Return the newest whole checkpoint of a run that is to be used.

    Raises:
        NoInputError: there is none.
        IntegrityError: there are some, and all are damaged.
    """
    checkpoint, damaged = latest_checkpoint(run)
    if checkpoint is not None:
        return checkpoint
    if damaged:
        raise IntegrityError(damaged[0])
    raise NoInputError(
        f"{str(run)!r} must be a run directory with a checkpoint, got none; give the --out of "
        "pretrain, finetune or distill."
    )


def _verified(folder: Path) -> Checkpoint:
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        for name, expected in manifest["files"].items():
            if "/" in name or sha256_of_file(folder / name) != expected:
                raise ValueError(f"{name} fails its SHA-256")
        digest = str(manifest["files"]["model.safetensors"])
        return Checkpoint(folder, int(manifest["step"]), dict(manifest["network"]), digest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"checkpoint {str(folder)!r} is damaged: {error}.") from error
