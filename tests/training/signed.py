"""Manifests for checkpoints that were changed, as somebody would write them who knows how."""

import json
from pathlib import Path

from medsimclr.files.checksum import sha256_of_file, sha256_of_value

__all__ = ["as_earlier_version", "sign"]


def sign(folder: Path, **changes: object) -> None:
    """Write a manifest with fields changed, and with the digests of the files and of itself."""
    manifest = json.loads((folder / "manifest.json").read_bytes()) | changes
    manifest["files"] = {name: sha256_of_file(folder / name) for name in manifest["files"]}
    del manifest["manifest_sha256"]
    manifest["manifest_sha256"] = sha256_of_value(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def as_earlier_version(folder: Path, state: bytes) -> None:
    """Make a checkpoint what versions wrote that pickled the training state."""
    (folder / "state.safetensors").unlink()
    (folder / "state.pt").write_bytes(state)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    del manifest["manifest_sha256"]
    names = ("model.safetensors", "state.pt")
    manifest["files"] = {name: sha256_of_file(folder / name) for name in names}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
