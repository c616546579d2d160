"""Random batches as training reads them: our stores against zarr-python, decoding and rivals."""

import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import store_contenders as contenders
from big_slide import cached_slide
from store_contenders import ReadBatch
from tiling_contenders import our_config

from medsimclr.store.reader import TileStore
from medsimclr.tiling.tile import tile

__all__ = ["print_reading"]

_SLIDES = 4
_BATCH = 256
_BATCHES = 8
# (faster, slower or limit, least ratio or None where it is shown only, by CPU or wall time)
_LIMITS = [
    ("ours, jpeg copied", "zarr-python loop, jpeg copied", 4.0, "CPU"),
    ("ours, zstd", "zarr-python loop, zstd", 4.0, "CPU"),
    ("ours, raw", "zarr-python loop, raw", 4.0, "CPU"),
    # One thread cannot: decoding alone, the line below, is no faster against zarr's loop.
    ("ours, jpeg", "zarr-python loop, jpeg", None, "CPU"),
    ("decoding from memory", "zarr-python loop, jpeg", None, "CPU"),
    ("ours, jpeg, 2 threads", "zarr-python loop, jpeg", 4.0, "wall"),
    ("ours, jpeg", "decoding from memory", 0.75, "CPU"),
    ("ours, jpeg copied", "decoding from memory, copied", 0.75, "CPU"),
    ("ours, jpeg", "WebDataset", 1.0, "CPU"),
    ("ours, jpeg", "HDF5", 1.0, "CPU"),
    # LMDB keeps no checksums; one thread of either does nothing but decode.
    ("ours, jpeg", "LMDB", None, "CPU"),
    ("ours, jpeg, 2 threads", "LMDB", 1.0, "wall"),
]


def _build_stores(work: Path, *, size_px: int, tissue: Path) -> dict[str, Path]:
    """Tile four slides to a store of each codec, and to one of copied JPEG tiles."""
    slide = cached_slide(work, size_px=size_px, tissue=tissue)
    folder = _fresh(work / "slides")
    folder.mkdir()
    for number in range(_SLIDES):
        os.link(slide, folder / f"slide_{number}.svs")
    ways: dict[str, dict[str, Any]] = {
        "jpeg": {"codec": "jpeg", "passthrough": False},
        "jpeg copied": {"codec": "jpeg"},
        "zstd": {"codec": "zstd"},
        "raw": {"codec": "raw"},
    }
    paths = {name: work / f"{name.replace(' ', '_')}.zarr" for name in ways}
    for name, settings in ways.items():
        report = tile(our_config([folder], _fresh(paths[name]), **settings))
        if report.failed:
            raise SystemExit(f"{name}: {report.failed}")
    shutil.rmtree(folder)
    return paths


def _build_readers(work: Path, paths: dict[str, Path]) -> dict[str, ReadBatch]:
    """Return every contender's way to read a batch."""
    tile_px = TileStore(paths["jpeg"]).meta.tile_px
    streams = contenders.jpeg_streams(paths["jpeg"])
    rivals = _fresh(work / "rivals")
    rivals.mkdir()
    return {
        **{f"ours, {name}": contenders.ours(path) for name, path in paths.items()},
        "ours, jpeg, 2 threads": contenders.ours(paths["jpeg"], n_threads=2),
        **{f"zarr-python loop, {name}": contenders.zarr_loop(path) for name, path in paths.items()},
        "decoding from memory": contenders.decoding(streams, tile_px),
        "decoding from memory, copied": contenders.decoding(
            contenders.jpeg_streams(paths["jpeg copied"]), tile_px
        ),
        "WebDataset": contenders.web_dataset(streams, tile_px, rivals / "tar"),
        "HDF5": contenders.hdf5(streams, tile_px, rivals / "tiles.h5"),
        "LMDB": contenders.lmdb_rows(streams, tile_px, rivals / "lmdb"),
    }


def print_reading(work: Path, *, size_px: int, tissue: Path, rounds: int) -> bool:
    """Print rates and ratios of all contenders; return whether limits are kept."""
    paths = _build_stores(work, size_px=size_px, tissue=tissue)
    readers = _build_readers(work, paths)
    slides = TileStore(paths["jpeg"]).slides
    owner = np.repeat(np.arange(len(slides)), [slide.n_tiles for slide in slides])
    row = np.concatenate([np.arange(slide.n_tiles) for slide in slides])
    generator = np.random.default_rng(0)
    _check_equal(readers, owner, row)
    rates: dict[str, list[float]] = {name: [] for name in readers}
    walls: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        batches = [generator.choice(len(row), _BATCH, replace=False) for _ in range(_BATCHES)]
        for name, read in readers.items():
            start, wall_start = time.process_time(), time.perf_counter()
            for chosen in batches:
                read(owner[chosen].tolist(), row[chosen].tolist())
            n_tiles = _BATCH * _BATCHES
            rates[name].append(n_tiles / (time.process_time() - start))
            walls[name].append(n_tiles / (time.perf_counter() - wall_start))
    print(f"{len(row)} tiles of {len(slides)} slides, batches of {_BATCH}")
    print(f"{'tiles':32} {'per CPU-s':>10} {'min':>8} {'max':>8} {'per s':>8}")
    for name, values in rates.items():
        print(
            f"{name:32} {statistics.median(values):10.0f} {min(values):8.0f} {max(values):8.0f} "
            f"{statistics.median(walls[name]):8.0f}"
        )
    print(f"\n{'ratio, median of the rounds':60} {'CPU':>6}  {'wall':>5}  limit")
    kept = [_print_ratio(rates, walls, *limit) for limit in _LIMITS]
    for path in (*paths.values(), work / "rivals"):
        shutil.rmtree(path)
    return all(kept)


def _check_equal(
    readers: dict[str, ReadBatch], owner: npt.NDArray[np.int64], row: npt.NDArray[np.int64]
) -> None:
    """Check, and warm the cache on the way, that who asks for rows gets the same pixels."""
    for chosen in np.array_split(np.arange(len(row)), -(-len(row) // _BATCH)):
        wanted = owner[chosen].tolist(), row[chosen].tolist()
        for first, second in (
            ("ours, jpeg", "zarr-python loop, jpeg"), ("ours, zstd", "ours, raw"),
            ("ours, zstd", "zarr-python loop, zstd"), ("ours, raw", "zarr-python loop, raw"),
            ("ours, jpeg", "ours, jpeg, 2 threads"),
            ("ours, jpeg", "decoding from memory"), ("ours, jpeg", "HDF5"), ("ours, jpeg", "LMDB"),
            ("ours, jpeg copied", "decoding from memory, copied"),
        ):  # fmt: skip
            if not np.array_equal(readers[first](*wanted), readers[second](*wanted)):
                raise SystemExit(f"{first!r} and {second!r} must read the same pixels.")


def _print_ratio(
    rates: dict[str, list[float]],
    walls: dict[str, list[float]],
    ours: str,
    other: str,
    least: float | None,
    by: str,
) -> bool:
    by_cpu, by_wall = (
        statistics.median(a / b for a, b in zip(both[ours], both[other], strict=True))
        for both in (rates, walls)
    )
    ratio = by_cpu if by == "CPU" else by_wall
    is_kept = least is None or ratio >= least
    verdict = "-" if least is None else f"{least:.2f} {by} {'ok' if is_kept else 'MISSED'}"
    print(f"{ours:22} against {other:29} {by_cpu:6.2f}  {by_wall:5.2f}  {verdict}")
    return is_kept


def _fresh(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    return path
