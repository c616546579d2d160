"""How fast training reads a tile store, and what opening a store of a million tiles costs.

Random batches of 256 tiles of 256 px, warm cache, one thread unless said: our jpeg, zstd and raw
stores against zarr-python's `array[row]` on the same stores, plain decoding of the same JPEG
streams from memory, and WebDataset, HDF5 and LMDB of the same streams. The decoder is the store's
own for all, libjpeg-turbo by imagecodecs. Speed is tiles per CPU-second, since neighbours on the
machine cost wall time, which is printed beside it and judged where two threads read. All read the
same rows in every round, and a ratio is the median over the rounds.
A store of a million tiles is sparse: metadata as written, shards and tables that are holes.

The rivals, in the environment of medsimclr: pip install webdataset h5py lmdb

Usage: python benchmarks/store.py --work WORK [--size 10000] [--rounds 7]
           [--parts reading opening]
"""

import argparse
import sys
from pathlib import Path

import cv2
from big_slide import TISSUE
from sparse_store import print_opening

_PARTS = ("reading", "opening")


def main() -> None:
    """Print the parts asked for; exit 1 where a limit is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for slides and stores")
    parser.add_argument("--size", type=int, default=10_000, help="side of each slide, px")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tiles", type=int, default=1_000_000, help="tiles of the sparse stores")
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS)
    parser.add_argument("--tissue", type=Path, default=TISSUE, help="folder of LC25000 tiles")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    kept = []
    if "reading" in given.parts:
        # Here, since it imports the rivals, which are not among our dependencies.
        from store_reading import print_reading

        settings = {"size_px": given.size, "tissue": given.tissue, "rounds": given.rounds}
        kept.append(print_reading(given.work, **settings))
    if "opening" in given.parts:
        kept.append(print_opening(given.work, n_tiles=given.tiles, rounds=given.rounds))
    sys.exit(not all(kept))


if __name__ == "__main__":
    main()
