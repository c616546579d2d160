"""The comparison on natural images runs to its table; what it measures on noise means nothing."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

# What the script of the rival takes from lightly, so that the path is run without it.
_STAND_IN = {
    "lightly/__init__.py": "__version__ = 'stand-in'\n",
    "lightly/loss.py": (
        "import torch\n"
        "class NTXentLoss:\n"
        "    def __call__(self, a, b):\n"
        "        return -torch.cosine_similarity(a, b).mean()\n"
    ),
    "lightly/models/__init__.py": "",
    "lightly/models/modules.py": (
        "from torch import nn\n"
        "class SimCLRProjectionHead(nn.Linear):\n"
        "    def __init__(self, in_dim, hidden_dim, out_dim):\n"
        "        super().__init__(in_dim, out_dim)\n"
    ),
}
_RECIPE = """
batch_size = 16
view_px = 16
stem = "standard"
policy = "simclr"
policy_options = {strength = 0.5, blur = false}
optimizer = "lars"
base_lr = 1.0
lr_scaling = "linear"
depth = 18
"""


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, n_images in (("data_batch_1", 40), ("test_batch", 20)):
        rows = rng.integers(0, 256, (n_images, 3073), dtype=np.uint8)
        rows[:, 0] = np.arange(n_images) % 10
        rows.tofile(folder / f"{name}.bin")
    return folder


@pytest.fixture
def rival_env(tmp_path):
    env = tmp_path / "rival"
    for name, text in _STAND_IN.items():
        path = env / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    python = env / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nPYTHONPATH={env} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return env


def _run(*arguments):
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "natural.py"), *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_it_compares_all_three_and_repeats_no_finished_run(data, rival_env, tmp_path):
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(_RECIPE)
    arguments = (
        "--work", tmp_path / "work", "--data", data, "--rival-env", rival_env, "--recipe", recipe,
        "--minutes", 0.001, "--seeds", 1,
    )  # fmt: skip
    first = _run(*arguments)
    assert first.returncode in (0, 1), first.stderr  # 1: behind, which noise may be
    assert "ours less lightly, linear" in first.stdout
    results = sorted((tmp_path / "work").glob("*/result.json"))
    assert [path.parent.name for path in results] == [
        "0.001min-fp32-lightly-0", "0.001min-fp32-lightly-step", "0.001min-fp32-ours-0",
        "0.001min-fp32-ours-step", "0.001min-fp32-random-0",
    ]  # fmt: skip
    written = [path.stat().st_mtime_ns for path in results]
    again = _run(*arguments, "--json")
    assert json.loads(again.stdout)["runs"]["lightly"][0]["versions"]["lightly"] == "stand-in"
    assert [path.stat().st_mtime_ns for path in results] == written


@pytest.mark.parametrize("options", [("--rival-env", "nowhere"), ("--trial", "lightly", 0.06)])
def test_lightly_without_its_environment_is_refused_with_advice(options, tmp_path):
    done = _run("--work", tmp_path, "--data", tmp_path, *options)
    assert done.returncode == 1
    assert "--rival-env must be an environment with lightly, got" in done.stderr


def test_a_folder_without_images_is_refused(tmp_path):
    done = _run("--work", tmp_path / "work", "--data", tmp_path)
    assert done.returncode == 1
    assert "--data must hold CIFAR-10's .bin files, got none in" in done.stderr


def test_both_start_from_the_weights_of_our_own_run(tmp_path):
    from lightly_run import starting_encoder

    from medsimclr.config.pretrain import PretrainConfig
    from medsimclr.training.networks import Network, build_simclr

    config = PretrainConfig(store=tmp_path, out=tmp_path, seed=3, view_px=32)
    network = Network(
        kind="simclr", depth=18, width=1, stem="small", head_layers=3, view_px=32, tile_px=32,
        mpp=None,
    )  # fmt: skip
    ours = build_simclr(network, seed=3).encoder.state_dict()
    for name, value in starting_encoder(config).state_dict().items():
        assert value.equal(ours[name])
