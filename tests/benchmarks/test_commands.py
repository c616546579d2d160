"""The benchmarks run to their tables on tiny slides; what they measure there means nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def _run(script, *arguments):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    # 1 says that a limit is missed, which a tiny slide may.
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.slow
def test_tiling_prints_rates_ratios_and_memory(shared_data, tmp_path):
    printed = _run(
        "tiling.py", "--work", tmp_path, "--size", 2048, "--rounds", 1, "--memory-sizes", 1024, 2048
    )
    assert "ours, decoding, 1.0 um/px" in printed
    assert "against openslide + PIL q95 4:4:4, 1.0 um/px" in printed
    assert "two processes against one" in printed
    assert "no pyramid, passing through" in printed


def test_store_opens_sparse_stores(tmp_path):
    printed = _run(
        "store.py", "--work", tmp_path, "--parts", "opening", "--tiles", 1000, "--rounds", 1
    )
    assert "1 slide " in printed
    assert "10 slides" in printed


@pytest.mark.slow
def test_store_reads_the_same_pixels_from_all(shared_data, tmp_path):
    pytest.importorskip("h5py", reason="needs `pip install webdataset h5py lmdb`")
    pytest.importorskip("lmdb", reason="needs `pip install webdataset h5py lmdb`")
    printed = _run(
        "store.py", "--work", tmp_path, "--parts", "reading", "--size", 3584, "--rounds", 1
    )
    assert "against LMDB" in printed


def test_a_rival_without_environment_is_refused_with_advice(tmp_path):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "tiling.py"), "--work", str(tmp_path),
         "--rivals", "lazyslide"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "lazyslide must have an environment at" in done.stderr
