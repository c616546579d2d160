"""Who tiles in `tiling.py`: ours in three ways, openslide + PIL, histoprep, LazySlide.

Every contender tiles one slide to an empty folder and gives its tiles and the CPU seconds of all
its processes, imports excluded.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from process_tree import tree_cpu_seconds

from medsimclr.config.tile import TileConfig
from medsimclr.tiling.tile import tile

__all__ = ["TILE_PX", "Contender", "Measured", "our_config", "ours", "rivals", "warm_up"]

TILE_PX = 256
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Measured:
    """One run of one contender."""

    tiles: int
    cpu_seconds: float

    @property
    def tiles_per_cpu_second(self) -> float:
        """The rate that is compared."""
        return self.tiles / self.cpu_seconds


@dataclass(frozen=True)
class Contender:
    """A name of the table, and how to tile: (slide, empty folder that does not exist yet)."""

    name: str
    run: Callable[[Path, Path], Measured]


def our_config(slides: list[Path], out: Path, **settings: Any) -> TileConfig:
    """Return the configuration of one run of ours, defaults but for these settings."""
    return TileConfig(inputs=slides, out=out, **{"tile_px": TILE_PX, "mpp": 0.5, **settings})


def ours() -> list[Contender]:
    """Return our ways: decoding at both scales, and undecoded."""
    return [
        _ours("ours, decoding, 0.5 um/px", mpp=0.5, passthrough=False),
        _ours("ours, decoding, 1.0 um/px", mpp=1.0),
        _ours("ours, passing through, 0.5 um/px", mpp=0.5),
    ]


def rivals(work: Path, names: list[str]) -> list[Contender]:
    """Return openslide + PIL, and those of histoprep and lazyslide that are asked for."""
    best, cheap = (
        ["--quality", "95", "--subsampling", "0"],
        ["--quality", "80", "--subsampling", "2"],
    )
    found = [
        _rival(
            "openslide + PIL q95 4:4:4, 0.5 um/px", sys.executable, "openslide_pil.py", 0.5, best
        ),
        _rival(
            "openslide + PIL q95 4:4:4, 1.0 um/px", sys.executable, "openslide_pil.py", 1.0, best
        ),
        _rival(
            "openslide + PIL q80 4:2:0, 0.5 um/px", sys.executable, "openslide_pil.py", 0.5, cheap
        ),
        _rival(
            "openslide + PIL q80 4:2:0, 1.0 um/px", sys.executable, "openslide_pil.py", 1.0, cheap
        ),
    ]
    if "histoprep" in names:
        python = _environment(work, "histoprep")
        found += [
            _rival("histoprep, 0.5 um/px", python, "histoprep_tiles.py", 0.5, []),
            _rival(
                "histoprep without metrics, 0.5 um/px", python, "histoprep_tiles.py", 0.5,
                ["--no-metrics"],
            ),
        ]  # fmt: skip
    if "lazyslide" in names:
        python = _environment(work, "lazyslide")
        found += [
            _rival("LazySlide, 0.5 um/px", python, "lazyslide_tiles.py", 0.5, []),
            _rival("LazySlide, 1.0 um/px", python, "lazyslide_tiles.py", 1.0, []),
        ]
    return found


def warm_up(slide: Path, out: Path) -> None:
    """Tile a small slide once, so that the server of worker processes has imported everything."""
    tile(our_config([slide], out, passthrough=False))


def _ours(name: str, **settings: Any) -> Contender:
    def run(slide: Path, out: Path) -> Measured:
        start = tree_cpu_seconds()
        report = tile(our_config([slide], out, **settings))
        cpu_seconds = tree_cpu_seconds() - start
        if report.failed:
            raise SystemExit(f"{name}: {report.failed}")
        return Measured(sum(report.written.values()), cpu_seconds)

    return Contender(name, run)


def _rival(name: str, python: str, script: str, mpp: float, options: list[str]) -> Contender:
    def run(slide: Path, out: Path) -> Measured:
        arguments = [str(slide), str(out), str(mpp), str(TILE_PX), *options]
        done = subprocess.run(
            [python, str(_HERE / "rivals" / script), *arguments],
            env={**os.environ, "PYTHONPATH": str(_HERE)},
            stdout=subprocess.PIPE,
            check=True,
        )
        return Measured(**json.loads(done.stdout.splitlines()[-1]))

    return Contender(name, run)


def _environment(work: Path, name: str) -> str:
    python = work / name / "bin" / "python"
    if not python.exists():
        raise SystemExit(
            f"{name} must have an environment at {work / name}, got none; "
            "make it as `python benchmarks/tiling.py --help` says, or leave it out of --rivals."
        )
    return str(python)
