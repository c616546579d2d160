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
# From the second size on (the first may not fill a shard): 10,000 to 40,000 px is sixteen times the
# pixels, and what grows with the slide would show far above.
LARGEST_GROWTH = 1.25
_WAYS: list[tuple[str, int, dict[str, Any]]] = [
    ("decoding, 0.5 um/px", 3, {"passthrough": False}),
    ("decoding, 1.0 um/px", 3, {"mpp": 1.0}),
    ("passing through, 0.5 um/px", 3, {}),
    ("tiles of 224 px, not aligned", 3, {"tile_px": 224}),
    ("tiles of 512 px, stride 300", 3, {"tile_px": 512, "stride_px": 300}),
    ("raw codec", 3, {"codec": "raw"}),
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
        is_kept = max(peaks_mb) < LIMIT_MB and peaks_mb[-1] < LARGEST_GROWTH * peaks_mb[1]
        print("  ok" if is_kept else "  MISSED")
        kept.append(is_kept)
    print(f"limit {LIMIT_MB} MB, and the last at most {LARGEST_GROWTH} times the second")
    return all(kept)


def _peak_mb(slide: Path, out: Path, settings: dict[str, Any]) -> float:
    shutil.rmtree(out, ignore_errors=True)
    with PeakMemory() as memory:
        report = tile(our_config([slide], out, **settings))
    shutil.rmtree(out)
    if report.failed:
        raise SystemExit(f"{slide}: {report.failed}")
    return memory.peak_mb
