"""How fast a pretraining step is: from the store, in memory, and beside lightly's SimCLR.

ResNet-18, SimCLRv2's head, NT-Xent and LARS on two views of each tile. Three take turns, so that
their ratios hold on a machine that others use too; the load average is printed with them:

from the store  `pretrain` itself: loader processes read, decode and augment, the loop updates, logs
in memory       bare forward, loss, backward and update on float images that lie ready
lightly         the same on lightly's head, loss and SGD, and our encoder with torch's batch norm,
                in fp32, which is its default

A step from the store must reach 0.9 of the one in memory, net of what drawing the views costs:

    efficiency = wall(in memory) / (wall(from the store) - CPU(drawing the views) / cores)

since even a perfect loader takes that time from the cores that the step computes on. With fewer
threads than cores the loader has a core of its own, and nothing is subtracted. Reading and decoding
are never subtracted.

lightly needs an environment of its own, with the torch that ours has and a torchvision that fits:

    python3 -m venv LIGHTLY
    LIGHTLY/bin/pip install torch==2.14.1 torchvision==0.29.1 lightly==1.6.0
    LIGHTLY/bin/pip install --no-deps -e .       (from the root of this repository)

Usage: python benchmarks/step.py --work WORK --tiles FOLDER [--lightly LIGHTLY] [--threads N]
           [--workers N] [--rounds 5] [--steps 8] [--policies stain_jitter simclr]
           [--precisions bf16 fp32] [--tile-px 224] [--depth 18] [--view-px 96] [--batch-size 64]
       FOLDER: images with a labels.csv, or anything else that `medsimclr tile` takes without --mpp
"""

import argparse
import os
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from step_contenders import (
    Feeding,
    InMemory,
    Lightly,
    PerStep,
    feeding,
    python_of,
    train_from_store,
)

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.config.tile import TileConfig
from medsimclr.tiling.tile import tile
from medsimclr.training.compute import choose_device, choose_precision, keep_freed_memory

__all__ = ["Rounds", "efficiency"]

_LEAST_EFFICIENCY = 0.9
_LEAST_TIMES_LIGHTLY = {"fp32": 1.05, "bf16": 1.8}


@dataclass
class Rounds:
    """What was measured, one entry a round."""

    store: list[PerStep] = field(default_factory=list)
    memory: list[PerStep] = field(default_factory=list)
    lightly: list[PerStep] = field(default_factory=list)
    feeding: list[Feeding] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    """Load average of the last minute at the end of the round, this benchmark's own included."""
    rival: str = ""
    """Versions of the other environment."""


def efficiency(*, memory_s: float, store_s: float, draw_cpu_s: float, n_shared_cores: int) -> float:
    """Return what share of the bare step's speed a step from the store has.

    Args:
        memory_s: wall seconds of the bare step.
        store_s: wall seconds of the step from the store.
        draw_cpu_s: CPU seconds of drawing its views.
        n_shared_cores: cores on which both step and loader run; 0 where the loader has its own.
    """
    return memory_s / (store_s - (draw_cpu_s / n_shared_cores if n_shared_cores else 0))


def main() -> None:
    """Measure every combination of policy and precision; exit 1 where a limit is missed."""
    given = _arguments()
    sys.stdout.reconfigure(line_buffering=True)  # a log of minutes is read while it grows
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    rival = python_of(given.lightly) if given.lightly else None
    store = _store(given.work, given.tiles, tile_px=given.tile_px)
    n_cores = len(os.sched_getaffinity(0))
    n_shared_cores = n_cores if given.threads >= n_cores else 0
    print(
        f"ResNet-{given.depth}, {given.batch_size} tiles a step in two views of {given.view_px} px"
        f", {given.threads} threads and {given.workers} loader processes on {n_cores} cores, "
        f"torch {torch.__version__}"
    )
    kept = True
    for policy in given.policies:
        for precision in given.precisions:
            rounds = _measure(_config(given, store, policy, precision), given, rival)
            print(f"\n{policy}, {precision}{rounds.rival}")
            _print_times(rounds, n_images=2 * given.batch_size)
            kept &= _print_ratios(rounds, precision=precision, n_shared_cores=n_shared_cores)
    sys.exit(0 if kept else 1)


def _measure(config: PretrainConfig, given: argparse.Namespace, rival: Path | None) -> Rounds:
    memory = InMemory(config)
    lightly = Lightly(rival, config) if rival is not None else None
    rounds = Rounds(rival=f"; {lightly.versions}" if lightly is not None else "")

    def others() -> None:
        rounds.memory.append(memory.run(given.steps))
        if lightly is not None:
            rounds.lightly.append(lightly.run(given.steps))
        first_tile = len(rounds.feeding) * config.batch_size
        rounds.feeding.append(feeding(config, first_tile=first_tile))
        rounds.load.append(os.getloadavg()[0])

    rounds.store = train_from_store(
        config, n_rounds=given.rounds, n_steps=given.steps, others=others
    )
    if lightly is not None:
        lightly.close()
    shutil.rmtree(config.out)
    return rounds


def _print_times(rounds: Rounds, *, n_images: int) -> None:
    print(f"{'ms a step':32} {'median':>8} {'min':>8} {'max':>8} {'CPU':>8} {'views/s':>9}")
    for name, steps in (
        ("from the store", rounds.store),
        ("in memory", rounds.memory),
        ("lightly, in memory", rounds.lightly),
    ):
        if steps:
            walls = [step.wall_s for step in steps]
            cpu_s = statistics.median(step.cpu_s for step in steps)
            print(
                f"{name:32} {_milliseconds(walls)} {1000 * cpu_s:8.0f} "
                f"{n_images / statistics.median(walls):9.0f}"
            )
    for name, values in (
        ("CPU of drawing the views", [one.draw_cpu_s for one in rounds.feeding]),
        ("CPU of reading and decoding", [one.read_cpu_s for one in rounds.feeding]),
        ("CPU of the loader processes", [step.worker_cpu_s for step in rounds.store]),
    ):
        print(f"{name:32} {_milliseconds(values)}")
    print(f"load average {min(rounds.load):.1f} to {max(rounds.load):.1f}")


def _milliseconds(seconds: Sequence[float]) -> str:
    return " ".join(f"{1000 * f(seconds):8.0f}" for f in (statistics.median, min, max))


def _print_ratios(rounds: Rounds, *, precision: str, n_shared_cores: int) -> bool:
    """Print each ratio with its limit; return whether all are kept."""
    efficiencies = [
        efficiency(
            memory_s=memory.wall_s,
            store_s=store.wall_s,
            draw_cpu_s=fed.draw_cpu_s,
            n_shared_cores=n_shared_cores,
        )
        for memory, store, fed in zip(rounds.memory, rounds.store, rounds.feeding, strict=True)
    ]
    kept = _print_ratio("efficiency of the step from the store", efficiencies, _LEAST_EFFICIENCY)
    if rounds.lightly:
        pairs = list(zip(rounds.lightly, rounds.memory, strict=True))
        walls = [rival.wall_s / ours.wall_s for rival, ours in pairs]
        least = _LEAST_TIMES_LIGHTLY[precision]
        kept &= _print_ratio("times lightly, both in memory, wall", walls, least)
        _print_ratio("times lightly, both in memory, CPU", [r.cpu_s / o.cpu_s for r, o in pairs])
    return kept


def _print_ratio(name: str, ratios: list[float], least: float | None = None) -> bool:
    ratio = statistics.median(ratios)
    is_kept = least is None or ratio >= least
    verdict = "" if least is None else f"at least {least:.2f}: {'ok' if is_kept else 'MISSED'}"
    print(f"{name:40} {ratio:5.2f} ({min(ratios):.2f} to {max(ratios):.2f})  {verdict}")
    return is_kept


def _store(work: Path, tiles: Path, *, tile_px: int) -> Path:
    """Tile what was given, or use the store that an earlier run made of it."""
    store = work / "step.zarr"
    report = tile(TileConfig(inputs=[tiles], out=store, tile_px=tile_px))
    if report.failed:
        raise SystemExit(f"{tiles}: {report.failed}")
    return store


def _config(given: argparse.Namespace, store: Path, policy: str, precision: str) -> PretrainConfig:
    out = given.work / "step_run"
    shutil.rmtree(out, ignore_errors=True)
    return PretrainConfig(
        store=store,
        out=out,
        policy=policy,
        precision=precision,
        depth=given.depth,
        view_px=given.view_px,
        batch_size=given.batch_size,
        workers=given.workers,
        threads=given.threads,
        device="cpu",
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--tiles", type=Path, required=True)
    parser.add_argument("--lightly", type=Path, help="its environment")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--workers", type=int, default=PretrainConfig.model_fields["workers"].default
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="timed steps a round")
    parser.add_argument("--policies", nargs="+", default=["stain_jitter", "simclr"])
    default = choose_precision("auto", choose_device("cpu"))
    precisions = list(dict.fromkeys([default, "fp32"]))
    parser.add_argument("--precisions", nargs="+", choices=("bf16", "fp32"), default=precisions)
    parser.add_argument("--tile-px", type=int, default=224)
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--view-px", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=64)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    return given


if __name__ == "__main__":
    main()
