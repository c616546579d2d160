"""Stores of a million tiles without their bytes: how long opening takes, and in how much memory.

The metadata is what the writer would write, a digest for every file included; shards are holes of
the size that they would have, and tables and pictures are left out, since opening reads neither.
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from medsimclr.store.schema import SCHEMA, RootMeta, SlideMeta, group_json

__all__ = ["build_sparse_store", "print_opening"]

LIMIT_SECONDS = 1.0
LIMIT_MB = 200
_TILES_OF_SMALL_SLIDE = 100
_SHARD_TILES = 256
_TILE_BYTES = 40_000
_ARRAYS = {"images": 4, "label": 1, "level0_xy": 2, "quality": 2, "tissue": 1, "mask": 2,
           "thumbnail": 3}  # fmt: skip
_OPEN = """
import json, os, sys, time
from pathlib import Path
from process_tree import peak_resident_mb
from medsimclr.store.reader import TileStore
start, cpu_start = time.perf_counter(), time.process_time()
store = TileStore(Path(sys.argv[1]))
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
n_tiles = sum(slide.n_tiles for slide in store.slides)
print(json.dumps([seconds, cpu, peak_resident_mb(os.getpid()), n_tiles]))
"""


def print_opening(work: Path, *, n_tiles: int, rounds: int) -> bool:
    """Open a store of one slide and one of many, each in fresh processes; print, and judge."""
    kept = []
    n_small = n_tiles // _TILES_OF_SMALL_SLIDE
    ways = {"1 slide": [n_tiles], f"{n_small} slides": [_TILES_OF_SMALL_SLIDE] * n_small}
    print(
        f"\nopening {n_tiles} tiles, fresh process, warm cache, imports not timed, "
        f"load average {os.getloadavg()[0]:.1f}"
    )
    for name, tiles_of_slides in ways.items():
        path = work / f"sparse_{len(tiles_of_slides)}_{n_tiles}_schema_{SCHEMA}.zarr"
        if not path.exists():
            partial = path.with_suffix(".partial")
            build_sparse_store(partial, tiles_of_slides)
            partial.rename(path)
        runs = [_opened(path) for _ in range(rounds)]
        assert runs[0][3] == sum(tiles_of_slides), runs[0]
        seconds, cpu, peak_mb = (
            statistics.median(run[place] for run in runs) for place in range(3)
        )
        # Judged by wall time, which is what a user waits; far above the CPU time, it is the load's.
        is_kept = seconds < LIMIT_SECONDS and peak_mb < LIMIT_MB
        print(
            f"{name:14} median {seconds:.3f} s (limit {LIMIT_SECONDS:g} s; {cpu:.3f} CPU-s), peak "
            f"{peak_mb:.0f} MB (limit {LIMIT_MB} MB) {'ok' if is_kept else 'MISSED'}"
        )
        kept.append(is_kept)
    return all(kept)


def build_sparse_store(path: Path, tiles_of_slides: list[int]) -> None:
    """Write a store of slides with so many tiles each."""
    path.mkdir()
    root = RootMeta(
        schema=SCHEMA,
        tile_px=256,
        shard_tiles=_SHARD_TILES,
        mpp=0.5,
        classes=["normal", "tumor"],
        quality_names=["focus", "ink", "blank"],
        tiling={"codec": "jpeg", "jpeg_quality": 95},
        tiling_sha256="0" * 64,
    )
    (path / "zarr.json").write_text(json.dumps(group_json(root), indent=2))
    for number, n_tiles in enumerate(tiles_of_slides):
        slide_id = f"slide_{number:05}"
        folder = path / slide_id
        folder.mkdir()
        n_shards = -(-n_tiles // _SHARD_TILES)
        shards = [f"images/c/{shard}/0/0/0" for shard in range(n_shards)]
        for shard, key in enumerate(shards):
            (folder / key).parent.mkdir(parents=True)
            n_tiles_here = min(_SHARD_TILES, n_tiles - shard * _SHARD_TILES)
            with (folder / key).open("wb") as file:
                os.truncate(file.fileno(), n_tiles_here * _TILE_BYTES + 16 * _SHARD_TILES + 4)
        meta = _slide_meta(slide_id, number, n_tiles, shards)
        (folder / "zarr.json").write_text(json.dumps(group_json(meta), indent=2))


def _slide_meta(slide_id: str, number: int, n_tiles: int, shards: list[str]) -> SlideMeta:
    others = [f"{name}/c/{'/'.join('0' * rank)}" for name, rank in _ARRAYS.items() if rank < 4]
    files = [*shards, *others, *(f"{name}/zarr.json" for name in _ARRAYS)]
    return SlideMeta(
        slide_id=slide_id,
        n_tiles=n_tiles,
        patient=f"patient_{number // 2}",
        centre="A",
        vendor="aperio",
        mpp=0.5,
        mpp_source="slide",
        dimensions_level0_xy=(100_000, 100_000),
        tile_level0_px=256,
        level=0,
        level_mpp=0.5,
        resampling="none",
        source={"quickhash": _digest(slide_id), "row": _digest(f"{slide_id} row")},
        pictures={"mask": (512, 512), "thumbnail": (512, 512, 3)},
        digests={key: _digest(f"{slide_id}/{key}") for key in sorted(files)},
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _opened(path: Path) -> tuple[float, float, float, int]:
    here = str(Path(__file__).parent)
    search = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, str(path)],
        env={**os.environ, "PYTHONPATH": search},
        stdout=subprocess.PIPE,
        check=True,
    )
    seconds, cpu, peak_mb, n_tiles = json.loads(done.stdout)
    return seconds, cpu, peak_mb, n_tiles
