"""What the folder of a checkpoint holds, read and checked. Nothing is unpickled.

A run may come from anybody: its files are read as `store.safe_open` reads those of a store. What
was verified is what is loaded: a `Checkpoint` holds the digests of its manifest, and every file is
read once, and looked at only when the bytes that were read have the digest.
"""

import errno
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medsimclr.errors import IntegrityError, NoInputError, UnsafeInputError
from medsimclr.files.atomic import PARTIAL_SUFFIX, json_text
from medsimclr.files.checksum import sha256_of_value
from medsimclr.store.safe_open import open_below, read_below
from medsimclr.training.tensor_file import read_tensors

__all__ = [
    "MANIFEST",
    "STATE",
    "WEIGHTS",
    "Checkpoint",
    "checkpoint_folders",
    "step_of",
    "verified",
]

WEIGHTS = "model.safetensors"
STATE = "state.safetensors"
MANIFEST = "manifest.json"
_OLD_STATE = "state.pt"
"""Training state of versions that pickled it."""
_NAME = re.compile(r"step_([0-9]{8,})")
_MOST_MANIFEST_BYTES = 16 << 20
_MOST_BYTES = 64 << 30
"""Size of a file of which no digest is computed; ResNet-200 of fourfold width has 4 GB."""
# A link may lead anywhere, and a pipe, socket or device may block or act.
_HARMFUL = (errno.ELOOP, errno.ENOTDIR, errno.EINVAL, errno.ENXIO, errno.ENODEV)
_DAMAGE = (errno.ENOENT, errno.EIO)


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    step: int = Field(ge=0)
    network: dict[str, Any]
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]
    manifest_sha256: str | None = None
    """Of all above; versions that pickled had none."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files are what its manifest says."""

    folder: Path
    step: int
    network: dict[str, Any]
    """What `networks` needs to build the module again."""
    weights_sha256: str
    state_sha256: str | None
    """None where an earlier version wrote it: good for its weights alone."""

    def identity(self) -> dict[str, Any]:
        """Return what tells these weights from all others."""
        return {"step": self.step, "weights_sha256": self.weights_sha256}

    def weights(self, expected: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the weights by name, on the CPU; they may not fit those expected, yet.

        Args:
            expected: those of the network, on any device, "meta" too; a file that has more bytes
                than these is not read, so that its size is no way to fill the memory.

        Raises:
            IntegrityError: the file is not the one that was verified, or holds no tensors, or more.
        """
        return self._tensors(WEIGHTS, self.weights_sha256, expected)

    def momentum(self, expected: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the optimiser's momentum by parameter, on the CPU; errors as `weights`."""
        if self.state_sha256 is None:
            raise IntegrityError(
                f"checkpoint {str(self.folder)!r} must hold {STATE} to be resumed, got the "
                f"{_OLD_STATE} of an earlier version, which is not opened since it may run code; "
                "its weights can be used, and to train on, start again with another --out."
            )
        return self._tensors(STATE, self.state_sha256, expected)

    def _tensors(
        self, name: str, sha256: str, expected: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        n_bytes = sum(tensor.nbytes for tensor in expected.values())
        with _reading(self.folder):
            try:
                run, key = _place(self.folder)
                return read_tensors(run, f"{key}/{name}", sha256=sha256, most_data_bytes=n_bytes)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error


def checkpoint_folders(run: Path) -> list[Path]:
    """Return what is named like a checkpoint, the newest first, and last what is misnamed."""
    checkpoints = run / "checkpoints"
    if not os.path.lexists(checkpoints):
        return []
    with _reading(checkpoints):
        if checkpoints.is_symlink():
            raise OSError(errno.ELOOP, "it is a link, and links are not followed")
        names = os.listdir(checkpoints)  # noqa: PTH208
    found = [name for name in names if name.startswith("step_")]
    folders = [checkpoints / name for name in found if not name.endswith(PARTIAL_SUFFIX)]
    return sorted(folders, key=step_of, reverse=True)


def step_of(folder: Path) -> int:
    """Return the step in a checkpoint's name, or -1 where it is no such name."""
    match = _NAME.fullmatch(folder.name)
    return int(match[1]) if match else -1


def verified(folder: Path) -> Checkpoint:
    """Read a checkpoint's manifest and check every file that it names.

    Raises:
        IntegrityError: something is missing or not what was written.
        UnsafeInputError: there is a link, pipe or device where a file or folder must be.
        NoInputError: it cannot be read, which says nothing about what it holds.
    """
    with _reading(folder):
        run, key = _place(folder)
        manifest = _read_manifest(run, f"{key}/{MANIFEST}")
        if folder.name != f"step_{manifest.step:08d}":
            raise ValueError(f"its manifest is that of step {manifest.step}")
        for name, expected in manifest.files.items():
            if _sha256(run, f"{key}/{name}") != expected:
                raise ValueError(f"{name} fails its SHA-256")
    files = manifest.files
    return Checkpoint(folder, manifest.step, manifest.network, files[WEIGHTS], files.get(STATE))


def _place(folder: Path) -> tuple[Path, str]:
    """Return the run of a checkpoint's folder, and the folder's path below it."""
    return folder.parents[1], f"{folder.parent.name}/{folder.name}"


def _read_manifest(run: Path, key: str) -> _Manifest:
    content = read_below(run, key, most_bytes=_MOST_MANIFEST_BYTES)
    try:
        manifest = _Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part)[:80] for part in first["loc"])
        raise ValueError(f"{MANIFEST} {where}: {first['msg']}") from error
    fields = manifest.model_dump(exclude_unset=True)
    # Byte for byte: a repeated key, or a space that became a tab, was not written by us either.
    if json_text(fields).encode() != content:
        raise ValueError(f"{MANIFEST} is not what was written")
    digest = fields.pop("manifest_sha256", None)
    is_old = digest is None and set(manifest.files) == {WEIGHTS, _OLD_STATE}
    is_ours = set(manifest.files) == {WEIGHTS, STATE} and digest == sha256_of_value(fields)
    if not is_old and not is_ours:
        raise ValueError(f"{MANIFEST} is not what was written")
    return manifest


def _sha256(run: Path, key: str) -> str:
    handle, n_bytes = open_below(run, key)
    with open(handle, "rb") as file:  # noqa: PTH123
        if n_bytes > _MOST_BYTES:
            raise ValueError(f"{key} must have at most {_MOST_BYTES} bytes, got {n_bytes}")
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _reading(what: Path) -> Iterator[None]:
    """Turn what reading a checkpoint met into an error that names it."""
    try:
        yield
    except OSError as error:
        _refuse(what, error)
    except ValueError as error:
        raise IntegrityError(f"checkpoint {str(what)!r} is damaged: {error}.") from error


def _refuse(what: Path, error: OSError) -> NoReturn:
    name = f" {Path(str(error.filename)).name!r}" if error.filename else ""
    fact = f"checkpoint {str(what)!r}{name}"
    if error.errno in _DAMAGE:
        raise IntegrityError(f"{fact} is damaged: {error.strerror}.") from error
    if error.errno in _HARMFUL:
        raise UnsafeInputError(
            f"{fact} must be a plain file or folder: {error.strerror}; remove it, or copy the run "
            "with what its links lead to."
        ) from error
    raise NoInputError(
        f"{fact} must be readable, got {error.strerror!r}; mend that and run the same command "
        "again, or delete it to use the one before."
    ) from error
