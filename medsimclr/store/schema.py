"""Names, types and limits of the tile store, and the checks that untrusted metadata must pass.

store.zarr/zarr.json             attributes.medsimclr = RootMeta
store.zarr/<slide_id>/zarr.json  attributes.medsimclr = SlideMeta; written last, it is the commit
  images (N, T, T, 3) uint8      chunk (1, T, T, 3), shard (256, T, T, 3)
  level0_xy (N, 2) int64 · tissue (N,) float32 · quality (N, K) float32 · label (N,) int16
  coverage (N, C) float32        annotated fraction of each class; absent without annotations
  image_index (N,) int32         which image of `images`; absent where the slide is one image
  mask (h, w) uint8, thumbnail (h, w, 3) uint8     absent for image folders
"""

import json
import re
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medsimclr.errors import IntegrityError
from medsimclr.store.codec import CodecName

__all__ = [
    "MAX_TILE_PX",
    "SCHEMA",
    "SHARD_TILES",
    "SLIDE_ID",
    "TABLE_ARRAYS",
    "RootMeta",
    "SlideMeta",
    "group_json",
    "read_meta",
]

SCHEMA = 1
SHARD_TILES = 256
MAX_TILE_PX = 4096
SLIDE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_JSON_BYTES = 64 << 20

# Per-tile arrays: type, and the SlideMeta/RootMeta field that gives the width (None: one column).
TABLE_ARRAYS: dict[str, tuple[np.dtype[Any], str | int | None]] = {
    "level0_xy": (np.dtype("<i8"), 2),
    "tissue": (np.dtype("<f4"), None),
    "quality": (np.dtype("<f4"), "quality_names"),
    "label": (np.dtype("<i2"), None),
    "coverage": (np.dtype("<f4"), "classes"),
    "image_index": (np.dtype("<i4"), None),
}


class _Meta(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class RootMeta(_Meta):
    """What holds for every tile of a store."""

    schema_version: Literal[1] = Field(alias="schema")
    tile_px: int = Field(ge=8, le=MAX_TILE_PX)
    """Side of a tile, pixels."""
    mpp: float | None = Field(gt=0)
    """Scale of every tile, um/px; None where the sources have no scale (natural images)."""
    classes: list[str]
    """Class names; label i is classes[i]."""
    quality_names: list[str]
    """Columns of `quality`."""
    tiling: dict[str, Any]
    """The tiling configuration, without paths and without what cannot change a byte."""
    tiling_sha256: str

    @model_validator(mode="after")
    def _has_known_codec(self) -> Self:
        if self.tiling.get("codec") not in get_args(CodecName):
            raise ValueError(
                f"codec must be one of {', '.join(get_args(CodecName))}, "
                f"got {self.tiling.get('codec')!r}"
            )
        return self


class SlideMeta(_Meta):
    """One committed slide."""

    slide_id: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    n_tiles: int = Field(ge=1, le=2**31)
    patient: str | None
    centre: str | None
    unit: Literal["patient", "tile"] = "patient"
    """What is drawn independently: patients, or single tiles (natural images)."""
    vendor: str
    mpp: float | None
    """Scale of level 0 of the source, um/px."""
    mpp_source: str | None
    dimensions_level0_xy: tuple[int, int] | None
    tile_level0_px: float | None
    """Side of a tile in level-0 pixels of the source."""
    level: int | None
    level_mpp: float | None
    resampling: Literal["none", "area", "linear"] | None
    source: dict[str, str]
    """Digests of the inputs: `sha256` or `quickhash` of the slide, `annotation`."""
    images: list[str] | None = None
    """Image names of a slide that is a set of images, relative to its labels.csv."""
    arrays: list[str]
    digests: dict[str, str]
    """SHA-256 of every chunk and shard file, by its name relative to the slide."""


Meta = TypeVar("Meta", RootMeta, SlideMeta)


def group_json(meta: RootMeta | SlideMeta) -> dict[str, Any]:
    """Return the zarr.json content of a group that carries `meta`."""
    attributes = {"medsimclr": meta.model_dump(mode="json", by_alias=True)}
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def read_meta(path: Path, model: type[Meta]) -> Meta:
    """Read and check the metadata of one group.

    Raises:
        IntegrityError: the file is missing, is no zarr group of this schema, or is out of bounds.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError(f"it has more than {_MAX_JSON_BYTES} bytes")
        content = json.loads(path.read_bytes())
        if content["zarr_format"] != 3 or content["node_type"] != "group":
            raise ValueError("it is no zarr v3 group")
        return model.model_validate(content["attributes"]["medsimclr"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "attributes"
        raise _refused(path, f"{key}: {first['msg']}") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
        raise _refused(path, reason) from error


def _refused(path: Path, reason: str) -> IntegrityError:
    return IntegrityError(
        f"{str(path)!r} must be the zarr.json of a medsimclr tile store (schema {SCHEMA}): "
        f"{reason}; give the folder that `medsimclr tile --out` wrote."
    )
