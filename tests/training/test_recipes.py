"""Every recipe of datasets/ says how it is run, resolves, and computes its first steps."""

import shlex
from pathlib import Path

import pytest

from medsimclr.config.base import resolve
from medsimclr.config.finetune import FinetuneConfig
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.data.split import read_split
from medsimclr.training.dry_run import dry_run
from medsimclr.training.finetune import finetune
from medsimclr.training.pretrain import pretrain
from medsimclr.training.run_log import read_metrics
from tests.tiny_store import write_tiny_store

_DATASETS = Path(__file__).parents[2] / "datasets"
_RECIPES = sorted(_DATASETS.glob("*/recipes/*.toml"))
_CONFIGS = {"pretrain": PretrainConfig, "finetune": FinetuneConfig}


def command_of(recipe):
    """Return the words of the command that a recipe's first line gives."""
    first = recipe.read_text(encoding="utf-8").splitlines()[0]
    return shlex.split(first.removeprefix("# "))


def recipes_of(command):
    return [recipe for recipe in _RECIPES if command_of(recipe)[1] == command]


def named(recipe):
    return f"{recipe.parts[-3]}-{recipe.stem}"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_tiny_store(tmp_path_factory.mktemp("store") / "tiny.zarr", tile_px=32)


def test_there_are_recipes_for_a_gpu_and_for_a_cpu():
    assert {"full", "cpu"} <= {recipe.stem for recipe in recipes_of("pretrain")}


@pytest.mark.parametrize("recipe", _RECIPES, ids=named)
def test_a_recipe_begins_with_its_command_hardware_time_and_expected_score(recipe):
    words = command_of(recipe)
    assert words[0] == "medsimclr"
    assert words[1] in _CONFIGS
    folder = recipe.parent.parent
    assert folder / words[words.index("--config") + 1] == recipe
    header = recipe.read_text(encoding="utf-8").split("\n\n")[0]
    for part in ("Hardware:", "Wall time:", "Expected:", "seed"):
        assert part in header
    if words[1] == "pretrain":  # the others keep the split of the run that they start from
        assert "Without --split, " in header
        assert "test" in read_split(folder / words[words.index("--split") + 1]).values()


@pytest.mark.parametrize("recipe", recipes_of("pretrain"), ids=named)
def test_a_pretraining_recipe_is_dry_run(recipe, store, tmp_path):
    config = resolve(
        PretrainConfig,
        flags={"store": store, "out": tmp_path / "run", "device": "cpu", "workers": 0},
        assignments=["batch_size=8"],  # the tiny store's size
        toml=recipe,
    )
    planned = dry_run(config)
    assert planned.course.steps == 48 * config.epochs // 8 + 1  # 4 of 6 patients train
    assert planned.size.stem == config.stem
    assert list(tmp_path.iterdir()) == []


def test_the_full_recipe_is_the_reference_s_for_cifar10():
    config = resolve(
        PretrainConfig,
        flags={"store": "cifar10.zarr", "out": "run"},
        toml=_DATASETS / "cifar10" / "recipes" / "full.toml",
    )
    # README of google-research/simclr, commit 383d414, and the defaults of its tf2/run.py.
    assert (config.depth, config.stem, config.view_px, config.head_layers) == (18, "small", 32, 3)
    assert (config.epochs, config.batch_size, config.temperature) == (1000, 512, 0.5)
    assert (config.base_lr, config.lr_scaling, config.weight_decay) == (1.0, "linear", 1e-4)
    assert config.warmup_share * config.epochs == 10
    assert (config.policy, config.policy_options) == ("simclr", {"strength": 0.5, "blur": False})


@pytest.mark.parametrize("recipe", recipes_of("finetune"), ids=named)
def test_a_fine_tuning_recipe_trains_on_a_pretrained_run(recipe, store, tmp_path):
    machine = {"store": store, "device": "cpu", "workers": 0, "epochs": 1}
    before = PretrainConfig(
        **machine, out=tmp_path / "before", batch_size=18, view_px=32, policy="simclr"
    )
    pretrain(before)
    config = resolve(
        FinetuneConfig,
        flags={**machine, "run": before.out, "out": tmp_path / "run", "labels": 16},
        assignments=["batch_size=8"],
        toml=recipe,
    )
    finetune(config)
    assert read_metrics(config.out)[-1]["step"] == 3
