"""Tile one slide the plain way, openslide-python and PIL; prints tiles and CPU seconds as JSON.

Tissue is what is darker than glass on a thumbnail; every tile that is tissue to a half is read,
resized by PIL's area average where its scale is another, and written as a JPEG file. No checksum,
no fsync, no thumbnail, no quality of tiles: less than what a store holds.

Usage: python openslide_pil.py SLIDE OUT MPP TILE_PX [--quality 95] [--subsampling 0]
"""

import argparse
import json
from pathlib import Path

import numpy as np
import openslide
from PIL import Image
from process_tree import tree_cpu_seconds

GLASS = 225
THUMBNAIL_PX = 2048


def tissue_corners(slide: openslide.OpenSlide, side_px: float) -> list[tuple[int, int]]:
    """Return level-0 corners of the tiles of which half is darker than glass."""
    thumbnail = slide.get_thumbnail((THUMBNAIL_PX, THUMBNAIL_PX)).convert("L")
    is_tissue_HW = np.asarray(thumbnail) < GLASS
    scale = is_tissue_HW.shape[1] / slide.dimensions[0]
    columns, rows = (int(side / side_px) for side in slide.dimensions)
    corners = []
    for row in range(rows):
        for column in range(columns):
            x, y = column * side_px, row * side_px
            left, top, right, bottom = (
                round(edge * scale) for edge in (x, y, x + side_px, y + side_px)
            )
            if is_tissue_HW[top:bottom, left:right].mean() >= 0.5:
                corners.append((round(x), round(y)))
    return corners


def main() -> None:
    """Tile the slide at the scale asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("mpp", type=float)
    parser.add_argument("tile_px", type=int)
    parser.add_argument("--quality", type=int, default=95)
    parser.add_argument("--subsampling", type=int, default=0, help="0 is 4:4:4, 2 is 4:2:0")
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    start = tree_cpu_seconds()
    slide = openslide.OpenSlide(given.slide)
    zoom = given.mpp / float(slide.properties[openslide.PROPERTY_NAME_MPP_X])
    level = slide.get_best_level_for_downsample(zoom)
    read_px = round(given.tile_px * zoom / slide.level_downsamples[level])
    corners = tissue_corners(slide, given.tile_px * zoom)
    for x, y in corners:
        tile = slide.read_region((x, y), level, (read_px, read_px)).convert("RGB")
        if read_px != given.tile_px:
            tile = tile.resize((given.tile_px, given.tile_px), Image.Resampling.BOX)
        tile.save(given.out / f"{x}_{y}.jpg", quality=given.quality, subsampling=given.subsampling)
    slide.close()
    print(json.dumps({"tiles": len(corners), "cpu_seconds": tree_cpu_seconds() - start}))


if __name__ == "__main__":
    main()
