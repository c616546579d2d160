"""How one tile becomes one chunk: JPEG, zstd or raw, always with a checksum.

The JPEG codec carries the name and configuration of the `imagecodecs-zarr` project, so that a zarr
with that package installed opens our stores by itself; where it is missing we register this class.
"""

import base64
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import imagecodecs
import numpy as np
import numpy.typing as npt
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.core.common import JSON
from zarr.registry import register_codec

__all__ = [
    "CodecName",
    "JpegCodec",
    "chunk_codecs",
    "decode_jpeg",
    "encode_jpeg",
    "register_jpeg_codec",
]

CodecName = Literal["jpeg", "zstd", "raw"]
Image = npt.NDArray[np.uint8]

_JPEG = "imagecodecs_jpeg"
# zstd level 3 writes about 95 MB/s a core; higher levels save less than 1 % on stained tissue.
_ZSTD = {"name": "zstd", "configuration": {"level": 3, "checksum": True}}
_BYTES = {"name": "bytes"}
_CRC32C = {"name": "crc32c"}


def encode_jpeg(tile_HW3: Image, *, quality: int) -> bytes:
    """Encode one RGB tile as a 4:4:4 YCbCr JPEG stream; colour keeps its full resolution."""
    return bytes(imagecodecs.jpeg8_encode(tile_HW3, level=quality, subsampling="444"))


def decode_jpeg(stream: bytes, *, tables: bytes | None = None, out: Image | None = None) -> Image:
    """Decode one JPEG stream to RGB uint8 (H, W, 3).

    Args:
        stream: the JPEG stream.
        tables: quantisation and Huffman tables that the stream lacks (TIFF JPEGTables).
        out: array that receives the pixels.
    """
    return np.asarray(imagecodecs.jpeg8_decode(stream, tables=tables, out=out))


@dataclass(frozen=True)
class JpegCodec(ArrayBytesCodec):
    """The zarr codec `imagecodecs_jpeg`: one chunk of one tile is one JPEG stream.

    Only the keys `level`, `subsampling` and `tables` change what we do; the published codec has
    more, and one that is set here without our knowing it is refused rather than ignored.
    """

    is_fixed_size = False
    configuration: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = self.configuration.keys() - {"level", "subsampling", "tables"}
        if unknown:
            raise ValueError(f"{_JPEG}: configuration keys {sorted(unknown)} are not supported")

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """Build the codec from its zarr.json entry."""
        configuration = data.get("configuration") or {}
        assert isinstance(configuration, dict)
        return cls(configuration=dict(configuration))

    def to_dict(self) -> dict[str, JSON]:
        """Return the codec's zarr.json entry."""
        return {"name": _JPEG, "configuration": dict(self.configuration)}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Refuse: the size of a JPEG stream is known only after encoding."""
        raise NotImplementedError

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        tile_HW3 = np.ascontiguousarray(chunk_array.as_numpy_array()[0])
        stream = encode_jpeg(tile_HW3, quality=int(self.configuration.get("level", 95)))
        return chunk_spec.prototype.buffer.from_bytes(stream)

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        encoded = self.configuration.get("tables")
        tables = base64.b64decode(encoded) if encoded else None
        tile_HW3 = decode_jpeg(chunk_bytes.to_bytes(), tables=tables)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(tile_HW3.reshape(chunk_spec.shape))


def chunk_codecs(codec: CodecName, *, jpeg_quality: int) -> list[dict[str, Any]]:
    """Return the zarr.json codec entries of one tile chunk."""
    match codec:
        case "jpeg":
            configuration = {"level": jpeg_quality, "subsampling": "444"}
            return [{"name": _JPEG, "configuration": configuration}, _CRC32C]
        case "zstd":
            return [_BYTES, _ZSTD]
        case "raw":
            return [_BYTES, _CRC32C]


def register_jpeg_codec() -> None:
    """Make zarr know our JPEG codec; call it before zarr opens or writes a tile array."""
    register_codec(_JPEG, JpegCodec)
