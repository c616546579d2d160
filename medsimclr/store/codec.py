"""How one tile becomes one chunk: JPEG, zstd or raw, always with a checksum."""

from typing import Any, Literal

import google_crc32c
import imagecodecs
import numpy as np
import numpy.typing as npt
from numcodecs.zstd import Zstd

from medsimclr.store.jpeg import decode_jpeg, encode_jpeg

__all__ = ["CRC_BYTES", "CodecName", "checked", "chunk_codecs", "decode_chunk", "encode_chunk"]

CodecName = Literal["jpeg", "zstd", "raw"]
Image = npt.NDArray[np.uint8]

CRC_BYTES = 4
# The crc32c of any bytes followed by their own crc32c: what is whole need not be cut to be checked.
_WHOLE = 0x48674BC7
_JPEG = "imagecodecs_jpeg"
# zstd level 3 writes about 95 MB/s a core; higher levels save less than 1 % on stained tissue.
_ZSTD_LEVEL = 3
_BYTES = {"name": "bytes"}
_CRC32C = {"name": "crc32c"}


def chunk_codecs(codec: CodecName, *, jpeg_quality: int) -> list[dict[str, Any]]:
    """Return the zarr.json codec entries of one chunk.

    The JPEG codec carries the name and configuration of the `imagecodecs-zarr` project, so that a
    zarr with that package installed opens our stores by itself; see `zarr_codec`.
    """
    match codec:
        case "jpeg":
            configuration = {"level": jpeg_quality, "subsampling": "444"}
            return [{"name": _JPEG, "configuration": configuration}, _CRC32C]
        case "zstd":
            configuration = {"level": _ZSTD_LEVEL, "checksum": True}
            return [_BYTES, {"name": "zstd", "configuration": configuration}]
        case "raw":
            return [_BYTES, _CRC32C]


def encode_chunk(pixels: npt.NDArray[Any] | bytes, codec: CodecName, *, jpeg_quality: int) -> bytes:
    """Encode one array, or take a JPEG stream as it is; the checksum is part of the chunk."""
    if codec == "zstd":
        assert not isinstance(pixels, bytes), "a JPEG stream fits the jpeg codec alone"
        frame: bytes = Zstd(level=_ZSTD_LEVEL, checksum=True).encode(np.ascontiguousarray(pixels))
        return frame
    payload: bytes
    if isinstance(pixels, bytes):
        payload = pixels
    elif codec == "jpeg":
        payload = encode_jpeg(pixels, quality=jpeg_quality)
    else:
        payload = pixels.tobytes()
    crc: int = google_crc32c.value(payload)
    return payload + crc.to_bytes(CRC_BYTES, "little")


def decode_chunk(chunk: bytes, codec: CodecName, *, out: Image) -> None:
    """Decode one chunk of uint8 into `out`.

    Raises:
        ValueError: it fails its checksum, or is not of the size or kind of `out`.
    """
    try:
        if codec == "zstd":
            # Into `out`: a frame may claim any size, and would be given that much memory.
            n_bytes = len(imagecodecs.zstd_decode(chunk, out=out.reshape(-1).data))
            if n_bytes != out.size:
                raise ValueError(f"expected {out.size} bytes, got {n_bytes}")
            return
        payload = checked(chunk)
        if codec == "jpeg":
            if decode_jpeg(payload, out=out).shape != out.shape:
                raise ValueError(f"expected an image of {out.shape}")
        else:
            out[...] = np.frombuffer(payload, np.uint8).reshape(out.shape)
    except RuntimeError as error:  # what imagecodecs raises on streams that it cannot decode
        raise ValueError(str(error)) from error


def checked(content: bytes) -> memoryview:
    """Return the bytes ahead of a crc32c, not copied.

    Raises:
        ValueError: they are not those that it was made of.
    """
    if google_crc32c.value(content) != _WHOLE:
        raise ValueError("it fails its crc32c")
    return memoryview(content)[:-CRC_BYTES]
