"""Tile one slide with LazySlide, as its documentation does; prints tiles and CPU seconds as JSON.

Runs in LazySlide's own environment, with the folder `benchmarks` on PYTHONPATH; imports are not
counted. LazySlide writes no tile images itself: PIL writes what its iterator gives, as JPEG files
of quality 80 with 4:2:0 colour.

Usage: python lazyslide_tiles.py SLIDE OUT MPP TILE_PX
"""

import json
import sys
from pathlib import Path

import lazyslide
from PIL import Image
from process_tree import tree_cpu_seconds


def main() -> None:
    """Find tissue, lay the grid, write every tile."""
    slide, out, mpp, tile_px = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    out.mkdir(parents=True)
    start = tree_cpu_seconds()
    wsi = lazyslide.open_wsi(slide)
    lazyslide.pp.find_tissues(wsi)
    lazyslide.pp.tile_tissues(wsi, tile_px, mpp=mpp, background_fraction=0.5)
    n_tiles = 0
    for tile in wsi.iter.tile_images("tiles"):
        Image.fromarray(tile.image).save(out / f"{tile.x}_{tile.y}.jpg", quality=80)
        n_tiles += 1
    print(json.dumps({"tiles": n_tiles, "cpu_seconds": tree_cpu_seconds() - start}))


if __name__ == "__main__":
    main()
