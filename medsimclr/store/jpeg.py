"""JPEG streams of single tiles."""

import imagecodecs
import numpy as np
import numpy.typing as npt

__all__ = ["decode_jpeg", "encode_jpeg"]

Image = npt.NDArray[np.uint8]


def encode_jpeg(tile_HW3: Image, *, quality: int) -> bytes:
    """Encode one RGB tile as a 4:4:4 YCbCr JPEG stream; colour keeps its full resolution."""
    return bytes(imagecodecs.jpeg8_encode(tile_HW3, level=quality, subsampling="444"))


def decode_jpeg(stream: bytes | memoryview, *, out: Image | None = None) -> Image:
    """Decode one whole JPEG stream to RGB uint8 (H, W, 3).

    Args:
        stream: the JPEG stream, its tables included.
        out: array that receives the pixels: without it every tile costs fresh memory from the
            kernel, which takes as long as half the decoding.
    """
    # Any buffer will do; the stubs know of some only.
    return np.asarray(imagecodecs.jpeg8_decode(stream, out=out))  # type: ignore[arg-type]
