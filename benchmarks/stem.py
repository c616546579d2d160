"""Which stem suits tissue views of 48 to 128 px: evidence for `stem` of `medsimclr pretrain`.

Every variant pretrains ResNet-18 for the same CPU time, on one H&E tile of each group of LC25000
(1,231 tiles of five classes; other tiles of a group are copies), at the same batch, rate and seeds;
then tiles of groups kept back are classified from frozen features. The variants:

    standard    7x7/2 and max-pool: group 1 sees a quarter of the view's side
    resnet-d    three 3x3, the first of stride 2, and max-pool, with ResNet-D's shortcuts
    small       3x3/1 without pool: group 1 sees the whole side, at 16 times the work
    standard, epochs of small    as many images as small could afford: what they cost apart

Runs that are finished stay in WORK and are not repeated. One thread. LC25000 is one laboratory's,
and colour alone tells most of its classes: differences of a few points mean little.

Usage: python benchmarks/stem.py --work WORK --data LC25000 [--minutes 3] [--seeds 2]
           [--views 64 96] [--json]
"""

import argparse
import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cpu_budget import epochs_within, pretrain_timed, step_cpu_seconds, throwaway
from frozen_features import accuracies

from medsimclr.cli.options import exit_on_error
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.config.tile import TileConfig
from medsimclr.data.split import is_in
from medsimclr.data.tile_index import index_tiles
from medsimclr.optim.schedule import total_steps
from medsimclr.store.reader import TileStore
from medsimclr.tiling.tile import tile
from medsimclr.training.networks import load_simclr
from medsimclr.training.run_directory import run_split

_VARIANTS: dict[str, dict[str, Any]] = {
    "standard": {"stem": "standard"},
    "resnet-d": {"stem": "standard", "selective_kernels": True},
    "small": {"stem": "small"},
}
_EQUAL = "standard, epochs of small"
_BATCH_SIZE = 64
_MEASURED_STEPS = 2


def main() -> None:
    """Print a table, a row for each view and variant."""
    given = _arguments()
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    store = _store(given.data, given.work)
    rows = [
        _row(store, given, view_px=view_px, variant=variant)
        for view_px in given.views
        for variant in (*_VARIANTS, _EQUAL)
    ]
    if given.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{given.minutes:g} CPU-minutes a run, batch {_BATCH_SIZE}, split by group")
    print("view  stem                       epochs  images/CPU-s  kNN (seeds)  linear (seeds)")
    for row in rows:
        print(
            f"{row['view_px']:4}  {row['variant']:25}  {row['epochs']:6}  "
            f"{row['images_per_cpu_second']:12.0f}  {_spread(row['knn'])}  {_spread(row['linear'])}"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for store and runs")
    parser.add_argument("--data", type=Path, required=True, help="LC25000 with its labels.csv")
    parser.add_argument("--minutes", type=float, default=3.0, help="CPU-minutes of a run")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--views", type=int, nargs="+", default=[64, 96])
    parser.add_argument("--max-epochs", type=int, default=sys.maxsize, help="to try the command")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _store(data: Path, work: Path) -> Path:
    """Tile the first image of every group."""
    store, images = work / "groups.zarr", work / "groups"
    if not images.is_dir():
        with (data / "labels.csv").open(encoding="utf-8", newline="") as file:
            first = {row["group"]: row for row in reversed(list(csv.DictReader(file)))}
        partial = work / "groups.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        with (partial / "labels.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["image", "label", "group"], extrasaction="ignore")
            writer.writeheader()
            for group, row in first.items():
                name = f"{group}.jpeg"
                shutil.copyfile(data / row["image"], partial / name)
                writer.writerow({**row, "image": name})
        partial.rename(images)
    report = tile(TileConfig(inputs=[images], out=store))
    if report.failed:
        raise SystemExit(f"{data}: {report.failed}")
    return store


def _row(store: Path, given: argparse.Namespace, *, view_px: int, variant: str) -> dict[str, Any]:
    """Run one variant with every seed, or read what it found."""
    found = []
    for seed in range(given.seeds):
        kept = given.work / f"{view_px}px-{variant.replace(', ', '-').replace(' ', '-')}-{seed}"
        result = kept / "result.json"
        if not result.is_file():
            kept.mkdir(exist_ok=True)
            config = _config(store, kept / "run", view_px=view_px, variant=variant, seed=seed)
            epochs = min(_epochs(config, given, variant), given.max_epochs)
            figures = _run(config.with_changes(epochs=epochs))
            partial = kept / "result.partial"
            partial.write_text(json.dumps({"minutes": given.minutes, **figures}))
            partial.rename(result)
        found.append(json.loads(result.read_text()))
        if found[-1]["minutes"] != given.minutes:
            raise SystemExit(
                f"{kept} was run for {found[-1]['minutes']} CPU-minutes, got --minutes "
                f"{given.minutes}; give another --work."
            )
    return {
        "view_px": view_px,
        "variant": variant,
        "epochs": found[0]["epochs"],
        "images_per_cpu_second": float(np.mean([f["images_per_cpu_second"] for f in found])),
        "knn": [f["knn"] for f in found],
        "linear": [f["linear"] for f in found],
    }


def _config(store: Path, out: Path, *, view_px: int, variant: str, seed: int) -> PretrainConfig:
    changes = _VARIANTS["standard" if variant == _EQUAL else variant]
    return PretrainConfig(
        store=store, out=out, view_px=view_px, batch_size=_BATCH_SIZE, seed=seed, epochs=1,
        **changes,
    )  # fmt: skip


def _epochs(config: PretrainConfig, given: argparse.Namespace, variant: str) -> int:
    """Return the whole epochs that the budget buys; kept, so that all seeds get as many."""
    plan = given.work / "epochs.json"
    known: dict[str, int] = json.loads(plan.read_text()) if plan.is_file() else {}
    costed = "small" if variant == _EQUAL else variant
    name = f"{given.minutes} minutes, {config.view_px}px, {costed}"
    if name not in known:
        trial = config.with_changes(out=throwaway(given.work, "trial"), epochs=2)
        tiles = round(len(index_tiles(TileStore(config.store))) * (1 - config.test_fraction))
        known[name] = epochs_within(
            60 * given.minutes,
            step_seconds=step_cpu_seconds(trial, n_steps=_MEASURED_STEPS),
            n_tiles=tiles,
            batch_size=_BATCH_SIZE,
        )
        plan.write_text(json.dumps(known))
    return known[name]


def _run(config: PretrainConfig) -> dict[str, float]:
    # A run that was killed in its evaluation has no steps left to time.
    steps = pretrain_timed(config) or [
        step_cpu_seconds(
            config.with_changes(out=throwaway(config.out.parent, "step")), n_steps=_MEASURED_STEPS
        )
    ]
    index = index_tiles(TileStore(config.store))
    split = run_split(config.out)
    parts = {part: index.select(is_in(part, index.patient_N, split)) for part in ("train", "test")}
    assert len(steps) < total_steps(len(parts["train"]), _BATCH_SIZE, config.epochs)
    encoder = load_simclr(config.out)[0].encoder
    found = accuracies(
        encoder, config.store, train=parts["train"], test=parts["test"], view_px=config.view_px,
        seed=config.seed, k=20,
    )  # fmt: skip
    rate = 2 * _BATCH_SIZE / float(np.mean(steps))
    return {"epochs": config.epochs, "images_per_cpu_second": rate, **found}


def _spread(values: list[float]) -> str:
    by_seed = " ".join(f"{value:.3f}" for value in values)
    return f"{np.mean(values):.3f} ({by_seed})"


if __name__ == "__main__":
    with exit_on_error():
        main()
