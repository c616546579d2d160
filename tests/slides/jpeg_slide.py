"""Slides of JPEG tiles, written as scanners do, with every pixel known."""

import io
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

APERIO = (
    "Aperio Image Library v12.0.15\r\n{} x {} [0,0 {}x{}] ({}x{}) JPEG/RGB Q=80"
    "|AppMag = 20|MPP = {}"
)


def tissue(size_xy, *, seed=0):
    """Return a smooth coloured image, (H, W, 3), each pixel unlike its neighbours."""
    width, height = size_xy
    generator = np.random.default_rng(seed)
    coarse = generator.integers(60, 230, (height // 16 + 2, width // 16 + 2, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = generator.integers(-10, 11, (height, width, 3))
    return np.clip(smooth.astype(int) + grain, 0, 255).astype(np.uint8)


def shrunk(image_HW3, factor):
    """Return the area average, as scanners make levels: what is left over at the edge is cut."""
    height, width = image_HW3.shape[0] // factor, image_HW3.shape[1] // factor
    cut = image_HW3[: height * factor, : width * factor]
    return cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA)


def write_jpeg_slide(
    path: Path,
    image_HW3,
    *,
    factors=(1, 4),
    tile=(256, 256),
    mpp=0.5,
    vendor="aperio",
    colour="ycbcr",
    subsampling=(2, 2),
    quality=80,
):
    """Write a pyramid of JPEG tiles; give the decoded pixels of its levels, (H, W, 3) each."""
    height, width = image_HW3.shape[:2]
    with tifffile.TiffWriter(path) as tiff:
        for factor in factors:
            level = image_HW3 if factor == 1 else shrunk(image_HW3, factor)
            description = APERIO.format(width, height, width, height, *tile, mpp)
            tiff.write(
                level,
                tile=tile,
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": quality, "outcolorspace": colour},
                subsampling=subsampling if colour == "ycbcr" else None,
                resolution=(1e4 / mpp / factor, 1e4 / mpp / factor),
                resolutionunit="CENTIMETER",
                description=description if vendor == "aperio" else None,
                subfiletype=0 if factor == 1 else 1,
                metadata=None,
            )
    return path


def write_progressive_slide(path: Path, image_HW3, *, tile_px=256):
    """Write one level of tiles that are progressive JPEG, its edge tiles padded."""
    height, width = image_HW3.shape[:2]
    padding = ((0, -height % tile_px), (0, -width % tile_px), (0, 0))
    padded_HW3 = np.pad(image_HW3, padding, mode="edge")
    streams = []
    for top in range(0, height, tile_px):
        for left in range(0, width, tile_px):
            stream = io.BytesIO()
            tile_HW3 = padded_HW3[top : top + tile_px, left : left + tile_px]
            Image.fromarray(tile_HW3).save(stream, "JPEG", quality=80, progressive=True)
            streams.append(stream.getvalue())
    tifffile.imwrite(
        path,
        iter(streams),
        shape=image_HW3.shape,
        dtype=np.uint8,
        tile=(tile_px, tile_px),
        photometric="ycbcr",
        compression="jpeg",
        subsampling=(2, 2),
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
        metadata=None,
    )
    return path


def jpeg_with_metadata(image_HW3, *, comment):
    """Return a JPEG stream with a comment and EXIF."""
    exif = Image.Exif()
    exif[0x010E] = comment
    stream = io.BytesIO()
    Image.fromarray(image_HW3).save(stream, "JPEG", quality=80, exif=exif, comment=comment.encode())
    return stream.getvalue()
