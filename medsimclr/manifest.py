"""Data sets as facts: datasets/<name>/manifest.toml, shipped inside the wheel.

A manifest names source, licence, files with their SHA-256, classes and splits; it holds no code.
"""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medsimclr.errors import ConfigError

__all__ = ["DatasetFile", "Manifest", "read_manifest", "read_manifests"]


class DatasetFile(BaseModel):
    """One file of a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """What is known of a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    title: str
    source: str
    """Address or citation of the publication."""
    licence: str
    classes: list[str] = Field(min_length=2)
    mpp: float | None = Field(default=None, gt=0)
    """Scale, um/px, as published; absent for natural images and where it is not stated."""
    tile_px: int
    """Side of the images or of the tiles advised, pixels."""
    splits: str
    """How to split without leaking."""
    tile_command: str
    """The command that makes a tile store of it."""
    files: list[DatasetFile] = []


def read_manifests() -> dict[str, Manifest]:
    """Read all manifests of this package, by data set."""
    root = _root()
    return {path.parent.name: read_manifest(path) for path in sorted(root.glob("*/manifest.toml"))}


def read_manifest(path: Path) -> Manifest:
    """Read one manifest.

    Raises:
        ConfigError: naming file and field.
    """
    try:
        return Manifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"manifest {str(path)!r} must be a readable TOML file: {error}."
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"manifest {str(path)!r}, {key}: {first['msg']}, got {first.get('input')!r}."
        ) from error


def _root() -> Path:
    inside = Path(__file__).parent / "datasets"
    # A checkout keeps the folder at the top; only the wheel carries it inside.
    return inside if inside.is_dir() else Path(__file__).parent.parent / "datasets"
