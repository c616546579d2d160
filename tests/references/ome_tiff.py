"""OME-TIFFs of known pixels, written by tifffile: its OME-XML is independent of our reading."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

__all__ = ["OME_HEAD", "write_described", "write_ome"]

OME_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
)


def write_ome(
    path: Path,
    levels: list[NDArray[np.uint8]],
    *,
    metadata: Mapping[str, object] | None = None,
    tile: tuple[int, int] | None = (64, 64),
    planar: bool = False,
    **options: object,
) -> Path:
    """Write (H, W, 3) levels, the reduced ones into SubIFDs.

    Args:
        path: the file.
        levels: largest first.
        metadata: what tifffile shall put into the OME-XML, as PhysicalSizeX.
        tile: (height, width); None for strips.
        planar: colour planes one after the other instead of RGB for each pixel.
        options: of TiffWriter.write, for every level.
    """
    settings = {"photometric": "rgb", "compression": "zlib", "tile": tile, **options}
    if planar:
        levels = [np.ascontiguousarray(np.moveaxis(level, 2, 0)) for level in levels]
        settings["planarconfig"] = "separate"
    axes = {"axes": "CYX" if planar else "YXS"}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(
            levels[0], subifds=len(levels) - 1, metadata={**axes, **(metadata or {})}, **settings
        )
        for level in levels[1:]:
            tiff.write(level, subfiletype=1, metadata=None, **settings)
    return path


def write_described(
    path: Path, pages: list[NDArray[np.uint8]], xml: str, **options: object
) -> Path:
    """Write a directory for each page under an OME-XML of one's own."""
    with tifffile.TiffWriter(path) as tiff:
        for index, page in enumerate(pages):
            tiff.write(
                page,
                tile=(64, 64),
                photometric="rgb" if page.ndim == 3 else "minisblack",
                description=xml.encode() if index == 0 else None,
                metadata=None,
                **options,
            )
    return path
