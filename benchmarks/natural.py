"""Is ours the real SimCLR? Natural images, one CPU budget, three seeds, beside lightly's.

CIFAR-10's binary files are tiled by `medsimclr tile`; then, for every seed,

    ours       `medsimclr pretrain` with the recipe datasets/cifar10/recipes/cpu.toml, in the
               precision that `auto` takes on this machine
    lightly    lightly's head, loss and optimiser on the same encoder (with torch's batch norm) and
               starting weights, on the same views in the same order, in lightly's own environment;
               fp32, which is its default, unless --rival-precision says otherwise
    random     the encoder that both start with

and the accuracy on the test images from frozen features: nearest neighbours (k 200, temperature
0.07) and a linear probe. Every run has one thread. The budget is CPU time of training, drawing the
views included: a step of each is measured first, and each gets the whole epochs that the budget
pays for, so that its cosine ends there. With --equal-steps both get those of the slower one, which
tells the algorithm from the speed. Both rates are the best of four or more by --trial, which looks
at training images alone (figures in DECISIONS.md).

Finished runs stay in WORK and are not repeated; ours goes on where it was killed.

lightly's environment, made from the root of this repository:
    python3 -m venv LIGHTLY
    LIGHTLY/bin/pip install torch==2.14.1 torchvision==0.29.1 lightly==1.6.0
    LIGHTLY/bin/pip install --no-deps -e .

Usage: python benchmarks/natural.py --work WORK --data DATA --rival-env LIGHTLY
           [--minutes 12] [--seeds 3] [--jobs 1] [--equal-steps] [--json]
       python benchmarks/natural.py --work WORK --data DATA --trial ours 1 2 4 [--minutes 3]
"""

import argparse
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from cpu_budget import epochs_within
from natural_runs import CONTENDERS, Contender, Task, tiles_of
from natural_table import print_table

from medsimclr.cli.options import exit_on_error
from medsimclr.config.base import load_toml
from medsimclr.config.tile import TileConfig
from medsimclr.tiling.tile import tile

_CIFAR10 = Path(__file__).parent.parent / "datasets" / "cifar10"
_MEASURED_STEPS = 8
_TRIAL_SEED = 1000
Result = dict[str, Any]


def main() -> None:
    """Print the table; exit 1 where ours falls behind lightly."""
    given = _arguments()
    given.work.mkdir(parents=True, exist_ok=True)
    _check_rival(given)
    task = _first_task(given)
    if given.trial:
        _print_trial(task, given)
        return
    contenders: list[Contender] = [c for c in CONTENDERS if c != "lightly" or given.rival_env]
    epochs = _epochs(task, given, contenders)
    tasks = {
        (contender, seed): replace(
            task,
            contender=contender,
            seed=seed,
            epochs=epochs.get(contender, 1),
            folder=str(given.work / f"{_mode(given)}-{contender}-{seed}"),
        )
        for seed in range(given.seeds)
        for contender in contenders
    }
    found = dict(zip(tasks, _results(tasks.values(), jobs=given.jobs), strict=True))
    table = {c: [found[c, seed] for seed in range(given.seeds)] for c in contenders}
    is_behind = print_table(
        table, recipe=load_toml(given.recipe), rule=_rule(given), as_json=given.json
    )
    raise SystemExit(int(is_behind))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for store and runs")
    parser.add_argument("--data", type=Path, required=True, help="folder of CIFAR-10's .bin files")
    parser.add_argument("--rival-env", type=Path, help="lightly's environment")
    parser.add_argument("--rival-precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--minutes", type=float, default=12.0, help="CPU-minutes of a training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--equal-steps", action="store_true", help="the same epochs for both")
    parser.add_argument("--recipe", type=Path, default=_CIFAR10 / "recipes" / "cpu.toml")
    parser.add_argument(
        "--trial", nargs="+", metavar=("ours|lightly", "RATE"),
        help="compare base rates on training tiles alone, with a seed of their own",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.trial and given.trial[0] not in ("ours", "lightly"):
        parser.error(f"--trial must name ours or lightly and rates, got {given.trial[0]!r}")
    return given


def _check_rival(given: argparse.Namespace) -> None:
    is_needed = given.rival_env or (given.trial and given.trial[0] == "lightly")
    if is_needed and not (given.rival_env and (given.rival_env / "bin" / "python").exists()):
        raise SystemExit(
            f"--rival-env must be an environment with lightly, got {str(given.rival_env)!r}; "
            "make it as `python benchmarks/natural.py --help` says, or leave it out to run ours "
            "and the random encoder alone."
        )


def _first_task(given: argparse.Namespace) -> Task:
    """Tile the images; return the task that the others differ from."""
    store = given.work / "natural.zarr"
    files = sorted(given.data.rglob("*.bin"))
    if not files:
        raise SystemExit(f"--data must hold CIFAR-10's .bin files, got none in {str(given.data)!r}")
    report = tile(TileConfig(inputs=files, out=store, tile_px=32, codec="zstd"))
    if report.failed:
        raise SystemExit(f"{given.data}: {report.failed}")
    return Task(
        contender="ours",
        store=str(store),
        recipe=str(given.recipe),
        split=str(_CIFAR10 / "split.csv"),
        folder="",
        seed=0,
        epochs=1,
        rival_python=str(given.rival_env / "bin" / "python") if given.rival_env else "",
        rival_precision=given.rival_precision,
    )


def _epochs(
    task: Task, given: argparse.Namespace, contenders: Iterable[Contender]
) -> dict[Contender, int]:
    """Return the epochs of each that trains: measured once, kept in WORK, equal for all seeds."""
    own: dict[Contender, int] = {}
    for contender in contenders:
        if contender == "random":
            continue
        folder = given.work / f"{_mode(given, is_equal=False)}-{contender}-step"
        measured = replace(
            task, contender=contender, folder=str(folder), epochs=2, measured_steps=_MEASURED_STEPS
        )
        (step,) = _results([measured], jobs=1)
        own[contender] = epochs_within(
            60 * given.minutes,
            step_seconds=step["step_cpu_seconds"],
            n_tiles=len(tiles_of(task, "train")),
            batch_size=load_toml(Path(task.recipe))["batch_size"],
        )
    return dict.fromkeys(own, min(own.values())) if given.equal_steps else own


def _mode(given: argparse.Namespace, *, is_equal: bool | None = None) -> str:
    """Return the part of a run's name that says under which budget it was made."""
    is_equal = given.equal_steps if is_equal is None else is_equal
    return f"{given.minutes:g}min-{given.rival_precision}{'-equal' if is_equal else ''}"


def _results(tasks: Iterable[Task], *, jobs: int) -> list[Result]:
    """Run each task in a process of its own, unless its result is there."""
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(_result, tasks))


def _result(task: Task) -> Result:
    folder = Path(task.folder)
    folder.mkdir(parents=True, exist_ok=True)
    path, asked = folder / "result.json", task.record()
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["task"] != asked:
            raise SystemExit(f"{folder} holds a run of other settings; give another --work.")
        result: Result = kept["result"]
        return result
    result = task.run_apart()
    partial = folder / "result.partial"
    partial.write_text(json.dumps({"task": asked, "result": result}, indent=2), encoding="utf-8")
    partial.rename(path)
    return result


def _print_trial(task: Task, given: argparse.Namespace) -> None:
    contender, *rates = given.trial
    epochs = _epochs(task, given, [contender])[contender]
    tasks = [
        replace(
            task, contender=contender, seed=_TRIAL_SEED, epochs=epochs, base_lr=float(rate),
            is_trial=True, folder=str(given.work / f"{_mode(given)}-trial-{contender}-{rate}"),
        )
        for rate in rates
    ]  # fmt: skip
    print(f"{contender}, {epochs} epochs; kNN of a fifth of the training tiles among the others")
    for rate, result in zip(rates, _results(tasks, jobs=given.jobs), strict=True):
        print(f"base rate {rate:>6}: kNN {result['knn']:.3f}")


def _rule(given: argparse.Namespace) -> str:
    rule = "equal steps" if given.equal_steps else "equal CPU time"
    return f"{rule}, {given.minutes:g} CPU-minutes"


if __name__ == "__main__":
    with exit_on_error():
        main()
