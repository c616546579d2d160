"""How much memory a worker of `medsimclr tile` takes, by the size and kind of its slide."""

import shutil
from pathlib import Path
from typing import Any

from big_slide import cached_slide
from process_tree import PeakMemory
from tiling_contenders import our_config

from medsimclr.tiling.tile import tile

__all__ = ["print_memory"]

LIMIT_MB = 500
# From the last size but one to the last. The thumbnail has its full size by then; what still grows
# are the tables of tiles and the decoded tiles of two rows, which end at 96 MB. The pixels
# themselves are 3,000 MB a gigapixel.
LARGEST_MB_PER_GIGAPIXEL = 20
_WAYS: list[tuple[str, int, dict[str, Any]]] = [
    ("decoding, 0.5 um/px", 3, {"passthrough": False}),
    ("decoding, 1.0 um/px", 3, {"mpp": 1.0}),
    ("passing through, 0.5 um/px", 3, {}),
    ("tiles of 224 px, not aligned", 3, {"tile_px": 224}),
    ("no pyramid, decoding, 0.5 um/px", 1, {"passthrough": False}),
    ("no pyramid, passing through", 1, {}),
]


def print_memory(work: Path, *, sizes_px: list[int], tissue: Path) -> bool:
    """Print the peak of a worker for every way and size; return whether the limits are kept."""
    print(f"\n{'peak MB of a worker, by side of the slide, px':44}", end="")
    print("".join(f" {size:>8}" for size in sizes_px), "MB/gigapixel")
    kept = []
    for name, n_levels, settings in _WAYS:
        print(f"{name:44}", end="", flush=True)
        peaks_mb = []
        for size_px in sizes_px:
            slide = cached_slide(work, size_px=size_px, n_levels=n_levels, tissue=tissue)
            peaks_mb.append(_peak_mb(slide, work / "out", settings))
            print(f" {peaks_mb[-1]:8.0f}", end="", flush=True)
        gigapixels = (sizes_px[-1] ** 2 - sizes_px[-2] ** 2) / 1e9
        growth = (peaks_mb[-1] - peaks_mb[-2]) / gigapixels
        is_kept = max(peaks_mb) < LIMIT_MB and growth < LARGEST_MB_PER_GIGAPIXEL
        print(f" {growth:12.1f}  {'ok' if is_kept else 'MISSED'}")
        kept.append(is_kept)
    print(
        f"limit {LIMIT_MB} MB, and {LARGEST_MB_PER_GIGAPIXEL} MB per gigapixel between the last two"
    )
    return all(kept)


def _peak_mb(slide: Path, out: Path, settings: dict[str, Any]) -> float:
    shutil.rmtree(out, ignore_errors=True)
    with PeakMemory() as memory:
        report = tile(our_config([slide], out, **settings))
    shutil.rmtree(out)
    if report.failed:
        raise SystemExit(f"{slide}: {report.failed}")
    return memory.peak_mb
