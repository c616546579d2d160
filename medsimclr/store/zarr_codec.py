"""Let zarr-python read our JPEG chunks where the `imagecodecs-zarr` package is missing.

Our own reader and writer do not need this: it is for those who open a store with zarr.
"""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.core.common import JSON
from zarr.registry import register_codec

from medsimclr.store.jpeg import decode_jpeg, encode_jpeg

__all__ = ["JpegCodec", "register_jpeg_codec"]

_NAME = "imagecodecs_jpeg"


@dataclass(frozen=True)
class JpegCodec(ArrayBytesCodec):
    """The zarr codec `imagecodecs_jpeg`: one chunk of one tile is one JPEG stream.

    Only the keys `level` and `subsampling` occur in our stores; the published codec has more, and
    one that is set without our knowing it is refused rather than ignored.
    """

    is_fixed_size = False
    configuration: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = self.configuration.keys() - {"level", "subsampling"}
        if unknown:
            raise ValueError(f"{_NAME}: configuration keys {sorted(unknown)} are not supported")

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """Build the codec from its zarr.json entry."""
        configuration = data.get("configuration") or {}
        assert isinstance(configuration, dict)
        return cls(configuration=dict(configuration))

    def to_dict(self) -> dict[str, JSON]:
        """Return the codec's zarr.json entry."""
        return {"name": _NAME, "configuration": dict(self.configuration)}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Refuse: the size of a JPEG stream is known only after encoding."""
        raise NotImplementedError

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        tile_HW3 = np.ascontiguousarray(chunk_array.as_numpy_array()[0])
        stream = encode_jpeg(tile_HW3, quality=int(self.configuration.get("level", 95)))
        return chunk_spec.prototype.buffer.from_bytes(stream)

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        tile_HW3 = decode_jpeg(chunk_bytes.to_bytes())
        return chunk_spec.prototype.nd_buffer.from_numpy_array(tile_HW3.reshape(chunk_spec.shape))


def register_jpeg_codec() -> None:
    """Make zarr know our JPEG codec; call it before zarr opens a tile array."""
    register_codec(_NAME, JpegCodec)
