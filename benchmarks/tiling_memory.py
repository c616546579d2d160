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
# Of the last size over the one before, four times its pixels: what grows with the slide would show
# far above. (Small slides have smaller masks than the largest that is made, and take less.)
LARGEST_GROWTH = 1.1
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
    print("".join(f" {size:>8}" for size in sizes_px))
    kept = []
    for name, n_levels, settings in _WAYS:
        print(f"{name:44}", end="", flush=True)
        peaks_mb = []
        for size_px in sizes_px:
            slide = cached_slide(work, size_px=size_px, n_levels=n_levels, tissue=tissue)
            peaks_mb.append(_peak_mb(slide, work / "out", settings))
            print(f" {peaks_mb[-1]:8.0f}", end="", flush=True)
        is_kept = max(peaks_mb) < LIMIT_MB and peaks_mb[-1] < LARGEST_GROWTH * peaks_mb[-2]
        print("  ok" if is_kept else "  MISSED")
        kept.append(is_kept)
    print(f"limit {LIMIT_MB} MB, and the last at most {LARGEST_GROWTH} times the one before")
    return all(kept)


def _peak_mb(slide: Path, out: Path, settings: dict[str, Any]) -> float:
    shutil.rmtree(out, ignore_errors=True)
    with PeakMemory() as memory:
        report = tile(our_config([slide], out, **settings))
    shutil.rmtree(out)
    if report.failed:
        raise SystemExit(f"{slide}: {report.failed}")
    return memory.peak_mb
