"""The table of `natural.py`, and its verdict."""

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from natural_runs import Contender

__all__ = ["print_table"]

Results = list[dict[str, Any]]


def print_table(
    table: Mapping[Contender, Results], *, recipe: Mapping[str, Any], rule: str, as_json: bool
) -> bool:
    """Print the figures and the verdict; return whether ours is behind lightly by a mean.

    Args:
        table: the results of each contender, seed by seed.
        recipe: our configuration.
        rule: what was equal, and how much of it there was.
        as_json: print everything as one JSON value instead.
    """
    differences = {
        name: [a[name] - b[name] for a, b in zip(table["ours"], table["lightly"], strict=True)]
        for name in ("knn", "linear")
        if "lightly" in table
    }
    is_behind = any(np.mean(values) < 0 for values in differences.values())
    if as_json:
        print(json.dumps({"runs": table, "differences": differences, "hardware": _hardware()}))
        return is_behind
    print(
        f"{rule}, {len(table['ours'])} seeds: mean (least-most); ResNet-{recipe['depth']}, "
        f"{recipe['stem']} stem, {recipe['view_px']} px, batch {recipe['batch_size']}"
    )
    print("         kNN                  linear               steps  CPU-min  images/CPU-s")
    for contender, results in table.items():
        print(_line(contender, results))
    for name, values in differences.items():
        by_seed = " ".join(f"{value:+.3f}" for value in values)
        verdict = "behind" if np.mean(values) < 0 else "not behind: ok"
        print(f"ours less lightly, {name}: {np.mean(values):+.3f} (by seed {by_seed}), {verdict}")
    if "lightly" in table:
        versions = table["lightly"][0]["versions"]
        print(f"lightly {versions['lightly']} with torch {versions['torch']}")
    print(_hardware())
    return is_behind


def _line(contender: str, results: Results) -> str:
    line = f"{contender:7}  {_spread(results, 'knn')}  {_spread(results, 'linear')}"
    if contender == "random":
        return line
    return (
        f"{line}  {results[0]['steps']:5}  {_mean(results, 'train_cpu_minutes'):7.1f}"
        f"  {_mean(results, 'images_per_cpu_second'):12.0f}  {results[0]['precision']}"
    )


def _mean(results: Results, name: str) -> float:
    return float(np.mean([result[name] for result in results]))


def _spread(results: Results, name: str) -> str:
    values = [result[name] for result in results]
    return f"{np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def _hardware() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{name}, {os.cpu_count()} cores, one thread a run; torch {torch.__version__}"
