"""Checkpoints: weights and momentum as safetensors, and a manifest last.

checkpoints/step_00000120/model.safetensors   weights and batch-norm statistics
checkpoints/step_00000120/state.safetensors   the optimiser's momentum, by parameter
checkpoints/step_00000120/manifest.json       step, network, SHA-256 of both and of itself
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from medsimclr.errors import IntegrityError, MedSimCLRError, NoInputError
from medsimclr.files.atomic import (
    PARTIAL_SUFFIX,
    output_errors,
    remove_folder,
    sync_folder,
    sync_tree,
    write_json,
)
from medsimclr.files.checksum import sha256_of_file, sha256_of_value
from medsimclr.training.checkpoint_files import (
    MANIFEST,
    STATE,
    WEIGHTS,
    Checkpoint,
    checkpoint_folders,
    step_of,
    verified,
)
from medsimclr.training.run_log import Progress, silent

__all__ = [
    "check_fit",
    "checkpoint_at",
    "discard_after",
    "latest_checkpoint",
    "require_checkpoint",
    "restore",
    "save_checkpoint",
]

_KEPT = 2


def save_checkpoint(
    checkpoints: Path,
    *,
    step: int,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    network: Mapping[str, Any],
) -> None:
    """Write a checkpoint in one durable step and drop all but the last two that are whole.

    Args:
        checkpoints: the run's `checkpoints` folder.
        step: steps done.
        module: its weights and buffers are saved.
        optimizer: over its parameters; its momentum is saved, its rates come from the plan.
        network: see `Checkpoint.network`.

    Raises:
        OutputError: the file system refused.
    """
    folder = checkpoints / f"step_{step:08d}"
    if folder.exists():
        if _is_whole(folder):
            return
        remove_folder(folder)
    partial = folder.with_name(folder.name + PARTIAL_SUFFIX)
    with output_errors(folder):
        if not checkpoints.is_dir():
            checkpoints.mkdir(parents=True)
            sync_folder(checkpoints.parent)
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
        _write(partial / WEIGHTS, module.state_dict())
        _write(partial / STATE, _momentum(module, optimizer))
        sync_tree(partial)
        digests = {name: sha256_of_file(partial / name) for name in (WEIGHTS, STATE)}
        content = {"step": step, "network": dict(network), "files": digests}
        write_json(partial / MANIFEST, {**content, "manifest_sha256": sha256_of_value(content)})
        partial.rename(folder)
        sync_folder(checkpoints)
    _prune(checkpoints.parent, newest=folder.name)


def restore(checkpoint: Checkpoint, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Load weights and momentum into a network and its optimiser.

    Raises:
        IntegrityError: they do not fit, or are not what was verified; see `Checkpoint.momentum`.
    """
    where = f"checkpoint {str(checkpoint.folder)!r}"
    trained, expected = _trained(module, optimizer), module.state_dict()
    momentum = checkpoint.momentum(trained)
    check_fit(momentum, trained, where=f"{where}, {STATE}")
    weights = checkpoint.weights(expected)
    check_fit(weights, expected, where=f"{where}, {WEIGHTS}")
    module.load_state_dict(weights)
    for name, weight in trained.items():
        buffer = torch.empty_like(weight).copy_(momentum[name])
        optimizer.state[weight]["momentum_buffer"] = buffer.detach()


def check_fit(
    tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], *, where: str
) -> None:
    """Refuse tensors that have not exactly the names, shapes and types of those expected.

    Raises:
        IntegrityError: naming the first that differs.
    """
    for name in sorted({*tensors, *expected}):
        got, wanted = (_kind(source.get(name)) for source in (tensors, expected))
        if got != wanted:
            raise IntegrityError(
                f"{where} does not fit the network: {name[:80]!r} must be {wanted}, got {got}; "
                "restore the run from a copy, or train again with another --out."
            )


def discard_after(run: Path, step: int) -> None:
    """Delete checkpoints of later steps: damaged ones, which would outlive their successors.

    Raises:
        OutputError: the file system refused.
    """
    for folder in checkpoint_folders(run):
        if step_of(folder) > step:
            remove_folder(folder)


def latest_checkpoint(run: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest checkpoint that is whole, and a sentence for each one passed over.

    Raises:
        UnsafeInputError: there is a link, pipe or device where a file or folder must be.
        NoInputError: one cannot be read, which says nothing about what it holds.
    """
    damaged: list[str] = []
    for folder in checkpoint_folders(run):
        try:
            return verified(folder), damaged
        except IntegrityError as error:
            damaged.append(str(error))
    return None, damaged


def require_checkpoint(run: Path, *, progress: Progress = silent) -> Checkpoint:
    """Return the newest whole checkpoint of a run that is to be used.

    Args:
        run: the run directory.
        progress: is told of newer ones that are damaged.

    Raises:
        NoInputError: there is none.
        IntegrityError: there are some, and all are damaged.
        UnsafeInputError: see `latest_checkpoint`.
    """
    checkpoint, damaged = latest_checkpoint(run)
    if checkpoint is not None:
        for sentence in damaged:
            progress(
                0,
                0,
                f"{sentence} Step {checkpoint.step} of {str(run)!r} is used instead; train that "
                "run again to make the later one anew.",
            )
        return checkpoint
    if damaged:
        raise IntegrityError(damaged[0])
    raise NoInputError(
        f"{str(run)!r} must be a run directory with a checkpoint, got none; give the --out of "
        "pretrain, finetune or distill."
    )


def checkpoint_at(run: Path, step: int) -> Checkpoint:
    """Return the checkpoint of a step, for a process that was told which; errors as above."""
    return verified(run / "checkpoints" / f"step_{step:08d}")


def _is_whole(folder: Path) -> bool:
    try:
        verified(folder)
    except MedSimCLRError:
        return False
    return True


def _prune(run: Path, *, newest: str) -> None:
    """Keep the newest and the next that is whole."""
    n_kept = 0
    for folder in checkpoint_folders(run):
        if n_kept < _KEPT and (folder.name == newest or _is_whole(folder)):
            n_kept += 1
        elif step_of(folder) >= 0:
            remove_folder(folder)


def _write(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        # What the file system said, in words only.
        raise OSError(str(error)) from error


def _trained(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    trained = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    named = {n: weight for n, weight in module.named_parameters() if id(weight) in trained}
    assert len(named) == len(trained), "the optimiser trains what is not in the network"
    return named


def _momentum(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the momentum of every trained parameter; it is zero before the first step."""
    buffers = {}
    for name, weight in _trained(module, optimizer).items():
        buffer = optimizer.state.get(weight, {}).get("momentum_buffer")
        buffers[name] = torch.zeros_like(weight) if buffer is None else buffer
    return buffers


def _kind(tensor: torch.Tensor | None) -> str:
    if tensor is None:
        return "absent"
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
