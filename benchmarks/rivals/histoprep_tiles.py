"""Tile one slide with histoprep, as its README does; prints tiles and CPU seconds as JSON.

Runs in histoprep's own environment, with the folder `benchmarks` on PYTHONPATH; imports are not
counted. It writes JPEG files of quality 80 with 4:2:0 colour (its default), thumbnails, and, as in
its README, metrics of each tile. It cuts at a level of the slide only: here level 0, 0.5 um/px.

Usage: python histoprep_tiles.py SLIDE OUT MPP TILE_PX [--no-metrics]
"""

import argparse
import json
from pathlib import Path

from histoprep import SlideReader
from process_tree import tree_cpu_seconds


def main() -> None:
    """Find tissue, lay the grid, write every tile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("mpp", type=float, choices=(0.5,))
    parser.add_argument("tile_px", type=int)
    parser.add_argument("--no-metrics", action="store_true")
    given = parser.parse_args()
    start = tree_cpu_seconds()
    reader = SlideReader(given.slide)
    threshold, mask_HW = reader.get_tissue_mask(level=-1)
    coordinates = reader.get_tile_coordinates(
        mask_HW, given.tile_px, max_background=0.5, out_of_bounds=False
    )
    metadata = reader.save_regions(
        given.out,
        coordinates,
        threshold=threshold,
        save_metrics=not given.no_metrics,
        verbose=False,
    )
    print(json.dumps({"tiles": len(metadata), "cpu_seconds": tree_cpu_seconds() - start}))


if __name__ == "__main__":
    main()
