"""Read a safetensors file of unknown origin: read once, checked, every tensor a view of what was.

Format: 8 bytes of length, a JSON header of {name: {dtype, shape, data_offsets}}, the data
(https://github.com/huggingface/safetensors#format). The package's `load_file` maps the file, whose
bytes may change after they were checked; its `load` copies them, and a large network has gigabytes.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from medsimclr.store.safe_open import open_below

__all__ = ["parse_tensors", "read_tensors"]

_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 16 << 20
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
}
_Natural = Annotated[int, Field(ge=0, lt=2**63)]


class _Entry(BaseModel):
    """Where one tensor stands in the data."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    dtype: Literal["F64", "F32", "F16", "BF16", "I64", "I32", "U8"]
    shape: Annotated[list[_Natural], Field(max_length=8)]
    data_offsets: Annotated[list[_Natural], Field(min_length=2, max_length=2)]


_HEADER = TypeAdapter(dict[str, _Entry])


def read_tensors(
    folder: Path, key: str, *, sha256: str, most_data_bytes: int
) -> dict[str, torch.Tensor]:
    """Read a file's tensors by name, on the CPU; it takes the memory of its size, once.

    Args:
        folder: trusted; links in its own path are followed.
        key: path below `folder`; no link in it is followed.
        sha256: what the bytes must have; nothing of them is looked at before.
        most_data_bytes: of all tensors; nothing of a file is read that has more, and more than the
            longest header.

    Raises:
        OSError: see `safe_open.open_below`.
        ValueError: its bytes are others, or no safetensors file.
    """
    handle, n_bytes = open_below(folder, key)
    with open(handle, "rb") as file:  # noqa: PTH123
        if n_bytes > _LENGTH_BYTES + _MOST_HEADER_BYTES + most_data_bytes:
            raise ValueError(
                f"expected {most_data_bytes} bytes of tensors and a header of at most "
                f"{_MOST_HEADER_BYTES}, got {n_bytes} bytes"
            )
        content_n = torch.empty(n_bytes, dtype=torch.uint8)
        n_read = file.readinto(content_n.numpy().data)
    if n_read != n_bytes or hashlib.sha256(content_n.numpy().data).hexdigest() != sha256:
        raise ValueError("it fails its SHA-256")
    return parse_tensors(content_n)


def parse_tensors(content_n: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file's bytes, as views of them.

    Args:
        content_n: uint8 (n,), the whole file.

    Raises:
        ValueError: the bytes are no safetensors file in which every byte belongs to one tensor.
    """
    header, data_n = _split(content_n)
    begin = 0
    tensors: dict[str, torch.Tensor] = {}
    for name, entry in sorted(header.items(), key=lambda item: item[1].data_offsets):
        dtype = _DTYPES[entry.dtype]
        # Python's integers do not overflow: a product beyond the file is seen as what it is.
        end = begin + math.prod(entry.shape) * dtype.itemsize
        if entry.data_offsets != [begin, end] or end > len(data_n):
            raise ValueError(
                f"tensor {name[:80]!r} of shape {entry.shape} must lie at {begin} to {end} of "
                f"{len(data_n)} bytes, got {entry.data_offsets}"
            )
        tensors[name] = _view(data_n[begin:end], dtype, entry.shape)
        begin = end
    if begin != len(data_n):
        raise ValueError(f"{len(data_n) - begin} bytes after the last tensor belong to none")
    return tensors


def _split(content_n: torch.Tensor) -> tuple[Mapping[str, _Entry], torch.Tensor]:
    n_header = int.from_bytes(content_n[:_LENGTH_BYTES].numpy().tobytes(), "little")
    start = _LENGTH_BYTES + n_header
    if len(content_n) < _LENGTH_BYTES or n_header > _MOST_HEADER_BYTES or start > len(content_n):
        raise ValueError(f"a header of {n_header} bytes does not fit in {len(content_n)} bytes")
    text = content_n[_LENGTH_BYTES:start].numpy().tobytes()
    try:
        header = json.loads(text.decode(), object_pairs_hook=_without_repetition)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"its header is no JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("its header is too deep") from error
    if isinstance(header, dict):
        header.pop("__metadata__", None)
    try:
        return _HEADER.validate_python(header), content_n[start:]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part)[:80] for part in first["loc"])
        raise ValueError(f"its header, {where}: {first['msg']}") from error


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = sorted(name for name, _ in pairs)
    for name, following in itertools.pairwise(names):
        if name == following:
            raise ValueError(f"its header has {name[:80]!r} twice")
    return dict(pairs)


def _view(bytes_n: torch.Tensor, dtype: torch.dtype, shape: list[int]) -> torch.Tensor:
    if bytes_n.storage_offset() % dtype.itemsize:
        # The package pads its headers so that this never happens; others may not.
        bytes_n = bytes_n.clone()
    return bytes_n.view(dtype).view(shape)
