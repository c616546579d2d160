"""The step benchmark runs to its table on tiny tiles; what it measures there means nothing."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from step import efficiency

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "step.py"


@pytest.fixture
def tiles(tmp_path):
    folder = tmp_path / "tiles"
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["image,label"]
    for number in range(8):
        name = f"{number}.png"
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (32, 32, 3), np.uint8))
        lines.append(f"{name},{'ab'[number % 2]}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def _run(*arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("n_shared_cores", "expected"), [(2, 0.5 / 0.54), (0, 0.5 / 0.58)])
def test_efficiency_is_net_of_drawing_where_the_loader_shares_the_cores(n_shared_cores, expected):
    share = efficiency(memory_s=0.5, store_s=0.58, draw_cpu_s=0.08, n_shared_cores=n_shared_cores)
    assert share == pytest.approx(expected)


@pytest.mark.slow
def test_step_prints_times_and_ratios(tiles, tmp_path):
    done = _run(
        "--work", tmp_path / "work", "--tiles", tiles, "--tile-px", 32, "--view-px", 16,
        "--batch-size", 4, "--rounds", 2, "--steps", 1, "--threads", 1, "--workers", 1,
        "--policies", "simclr", "--precisions", "fp32",
    )  # fmt: skip
    # 1 says that a limit is missed, which tiny steps may.
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert "simclr, fp32" in done.stdout
    assert "efficiency of the step from the store" in done.stdout
    assert not (tmp_path / "work" / "step_run").exists()


def test_a_missing_environment_of_lightly_is_refused_with_advice(tiles, tmp_path):
    done = _run("--work", tmp_path, "--tiles", tiles, "--lightly", tmp_path / "none")
    assert done.returncode == 1
    assert "lightly must have an environment at" in done.stderr
