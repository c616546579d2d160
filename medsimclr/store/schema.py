"""Names, types and limits of the tile store, and the checks that untrusted metadata must pass.

store.zarr/zarr.json             attributes.medsimclr = RootMeta
store.zarr/<slide_id>/zarr.json  attributes.medsimclr = SlideMeta; written last, it is the commit
  images (N, T, T, 3) uint8      chunk (1, T, T, 3), shard (S, T, T, 3)
  level0_xy (N, 2) int64 · tissue (N,) float32 · quality (N, K) float32 · label (N,) int16
  coverage (N, C) float32        annotated fraction of each class; absent without annotations
  image_index (N,) int32         which image of `images`; absent where the slide is one image
  left_out (M, 3) int64          x, y at level 0 and reason of the places without a tile
  mask (h, w) uint8, thumbnail (h, w, 3) uint8     absent for image folders

Beside each `medsimclr` stands `medsimclr_sha256`, the digest of its content: a patient whose name
lost a bit would be another patient.
"""

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Self, TypeVar, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medsimclr.errors import IntegrityError
from medsimclr.store.codec import CodecName
from medsimclr.store.safe_open import read_below

__all__ = [
    "LEFT_OUT_REASONS",
    "MAX_TILE_PX",
    "PICTURES",
    "SCHEMA",
    "SLIDE_ID",
    "TABLE_ARRAYS",
    "RootMeta",
    "SlideMeta",
    "group_json",
    "read_meta",
]

SCHEMA = 2
MAX_TILE_PX = 4096
_MAX_SHARD_TILES = 4096
_MAX_PICTURE_PX = 8192
PICTURES = ("mask", "thumbnail")
LEFT_OUT_REASONS = ("tissue", "ink", "blank", "focus")
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
    "left_out": (np.dtype("<i8"), 3),
}


# What array and shard writer make; by the pattern alone no key can lead out of the slide's folder.
_FILE_KEY = r"^(images/c/[0-9]{1,10}/0/0/0|[a-z0-9_]+/(zarr\.json|c(/0){1,3}))$"
_Side = Annotated[int, Field(ge=1, le=_MAX_PICTURE_PX)]


class _Meta(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class RootMeta(_Meta):
    """What holds for every tile of a store."""

    schema_version: Literal[2] = Field(alias="schema")
    tile_px: int = Field(ge=8, le=MAX_TILE_PX)
    """Side of a tile, pixels."""
    shard_tiles: int = Field(ge=1, le=_MAX_SHARD_TILES)
    """Tiles in one shard file."""
    mpp: float | None = Field(gt=0)
    """Scale of every tile, um/px; None where the sources have no scale (natural images)."""
    classes: list[str]
    """Class names; label i is classes[i]."""
    quality_names: list[str]
    """Columns of `quality`; NaN where a tile was not looked at for it."""
    mask_thresholds: dict[str, float] = Field(default_factory=dict)
    """What made a pixel of the mask tissue, ink or blank, by name."""
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
    n_left_out: int = Field(default=0, ge=0, le=2**31)
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
    tile_mpp: float | None = None
    """Scale of the tiles, um/px, at most 0.5 % from the one asked."""
    level: int | None
    level_mpp: float | None
    resampling: Literal["none", "area", "dct", "linear"] | None
    """dct: the JPEG was decoded at a fraction of its size, which averages over areas."""
    reading: Literal["copied", "decoded", "region"] | None = None
    """copied: the slide's JPEG tiles, no pixel decoded; decoded: by our direct path; region: by
    the reader that the store's configuration names."""
    source: dict[str, str]
    """Digests of the inputs: `sha256` or `quickhash` of the slide, `annotation`."""
    images: list[str] | None = None
    """SHA-256 of each image of a slide that is a set of images, in the order of `image_index`."""
    pictures: dict[
        Literal["mask", "thumbnail"],
        Annotated[tuple[_Side, ...], Field(min_length=2, max_length=3)],
    ]
    """Shapes of the pictures: mask (h, w), thumbnail (h, w, 3)."""
    digests: dict[
        Annotated[str, Field(pattern=_FILE_KEY)], Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    ]
    """SHA-256 of every other file of the slide, by its path below the slide."""

    @model_validator(mode="after")
    def _has_pictures_of_known_shape(self) -> Self:
        for name, shape in self.pictures.items():
            if len(shape) != (2 if name == "mask" else 3) or shape[2:] not in ((), (3,)):
                raise ValueError(f"{name} cannot have the shape {shape}")
        return self


Meta = TypeVar("Meta", RootMeta, SlideMeta)


class _Attributes(BaseModel, Generic[Meta]):
    medsimclr: Meta
    medsimclr_sha256: str


class _Group(BaseModel, Generic[Meta]):
    """The zarr.json of a group; other tools may add attributes of their own."""

    zarr_format: Literal[3]
    node_type: Literal["group"]
    attributes: _Attributes[Meta]


_GROUP_OF: dict[type[Any], type[_Group[Any]]] = {
    RootMeta: _Group[RootMeta],
    SlideMeta: _Group[SlideMeta],
}


def group_json(meta: RootMeta | SlideMeta) -> dict[str, Any]:
    """Return the zarr.json content of a group that carries `meta`."""
    content = meta.model_dump(mode="json", by_alias=True)
    as_read = type(meta).model_validate(content)
    attributes = {"medsimclr": content, "medsimclr_sha256": _digest(as_read)}
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def read_meta(path: Path, model: type[Meta], *, below: Path | None = None) -> Meta:
    """Read and check the metadata of one group.

    Args:
        path: its zarr.json.
        model: what it must be.
        below: folder of `path` from which on links are not followed; the file's own if None.

    Raises:
        IntegrityError: the file is missing, is no zarr group of this schema, is out of bounds, or
            is not what was written.
    """
    folder = below or path.parent
    key = path.relative_to(folder).as_posix()
    try:
        content = read_below(folder, key, most_bytes=_MAX_JSON_BYTES)
        attributes = _GROUP_OF[model].model_validate_json(content).attributes
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]).removeprefix("attributes.medsimclr.")
        raise _refused(path, f"{key}: {first['msg']}" if key else first["msg"]) from error
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from error
    except ValueError as error:
        raise _refused(path, str(error)) from error
    if attributes.medsimclr_sha256 != _digest(attributes.medsimclr):
        raise _refused(path, "its content is not what was written")
    meta: Meta = attributes.medsimclr
    return meta


def _digest(meta: RootMeta | SlideMeta) -> str:
    # Only what the file says: fields that a later version adds must not change the digest.
    content = meta.model_dump_json(by_alias=True, exclude_unset=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _refused(path: Path, reason: str) -> IntegrityError:
    return IntegrityError(
        f"{str(path)!r} must be the zarr.json of a medsimclr tile store (schema {SCHEMA}): "
        f"{reason}; give the folder that `medsimclr tile --out` wrote. If this is it, restore the "
        "file from a copy, or tile again with --overwrite."
    )
