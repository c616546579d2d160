"""Write small zarr v3 arrays of one chunk: a slide's tables and pictures.

zarr-python would leave out a chunk of zeros, which then reads as zeros when it is lost; here every
chunk is there, with its checksum.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medsimclr.store.codec import chunk_codecs, encode_chunk

__all__ = ["array_json", "write_array"]


def array_json(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    chunk: tuple[int, ...],
    codecs: list[dict[str, Any]],
) -> bytes:
    """Return the zarr.json of an array."""
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": codecs,
        "attributes": {},
    }
    return json.dumps(metadata, indent=2).encode()


def write_array(
    path: Path, values: npt.NDArray[Any], codec: Literal["zstd", "raw"]
) -> dict[str, str]:
    """Write an array of one chunk; return the SHA-256 of its files by their path below `path`."""
    codecs = chunk_codecs(codec, jpeg_quality=0)
    metadata = array_json(values.shape, values.dtype, chunk=values.shape, codecs=codecs)
    chunk = encode_chunk(values, codec, jpeg_quality=0)
    key = "/".join(["c", *["0"] * values.ndim])
    (path / key).parent.mkdir(parents=True)
    (path / key).write_bytes(chunk)
    (path / "zarr.json").write_bytes(metadata)
    return {
        key: hashlib.sha256(chunk).hexdigest(),
        "zarr.json": hashlib.sha256(metadata).hexdigest(),
    }
