"""`--set compile=true`: a compiled training computes what an eager one does.

Where torch.compile can go wrong, the graph that it captures, is compared in every combination, by a
backend that computes it with PyTorch's own operations. What users get, C++ by inductor, takes half
a minute to compile and is run once.
"""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from medsimclr.config.distill import DistillConfig
from medsimclr.config.finetune import FinetuneConfig
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.models import resnet
from medsimclr.training.checkpoint import require_checkpoint
from medsimclr.training.checkpoint_files import WEIGHTS
from medsimclr.training.distill import distill
from medsimclr.training.finetune import finetune
from medsimclr.training.pretrain import pretrain
from medsimclr.training.run_log import read_metrics
from tests.tiny_store import patches, write_tiny_store

# torch.compile does what torch itself warns of.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
]
SMALL = {
    "workers": 0,
    "device": "cpu",
    "precision": "fp32",
    "threads": 1,
    "batch_size": 8,
    "epochs": 1,
    # Rounding that differs diverges at a usual rate.
    "base_lr": 1e-5,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "tiny.zarr"
    return write_tiny_store(path, n_patients=3, tiles_per_patient=8, images_of=patches)


@pytest.fixture(autouse=True)
def _narrow_network(monkeypatch):
    monkeypatch.setattr(resnet, "_BASE_CHANNELS", 4)
    torch._dynamo.reset()


@pytest.fixture
def graphs(monkeypatch):
    """Let the graphs be computed as they were captured; return them."""
    captured, compile_by = [], nn.Module.compile

    def backend(graph, inputs):
        captured.append(graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    monkeypatch.setattr(nn.Module, "compile", lambda module: compile_by(module, backend=backend))
    return captured


def _pretrain(store: Path, out: Path, **changes) -> Path:
    # Crops within one patch have one colour, and what batch norm makes of that is rounding.
    policy = {"policy": "simclr", "policy_options": {"crop_area_min": 0.5}}
    settings = {**SMALL, **policy, "view_px": 32, "test_fraction": 0, "health_tiles": 4}
    pretrain(PretrainConfig(store=store, out=out, **settings, **changes))
    return out


def _assert_same(fast: Path, eager: Path, *, rel: float) -> None:
    for of_fast, of_eager in zip(read_metrics(fast), read_metrics(eager), strict=True):
        assert of_fast.pop("warnings", []) == of_eager.pop("warnings", [])
        assert of_fast == pytest.approx(of_eager, rel=rel)
    files = [require_checkpoint(run).folder / WEIGHTS for run in (fast, eager)]
    assert load_file(files[0]).keys() == load_file(files[1]).keys()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"recompute": True},
        {"micro_batch": 4},
        {"micro_batch": 4, "micro_batch_norm": "frozen"},
        {"micro_batch": 4, "recompute": True},
    ],
)
def test_a_compiled_pretraining_is_the_eager_one(store, tmp_path, graphs, changes):
    if "micro_batch_norm" in changes:
        changes = {**changes, "start_from": _pretrain(store, tmp_path / "before")}
    eager = _pretrain(store, tmp_path / "eager", **changes)
    assert not graphs
    fast = _pretrain(store, tmp_path / "fast", **changes, compile=True)
    assert graphs
    _assert_same(fast, eager, rel=1e-5)


@pytest.mark.parametrize("freeze", [False, True])
def test_a_compiled_finetuning_and_distillation_are_the_eager_ones(store, tmp_path, graphs, freeze):
    pretrained = _pretrain(store, tmp_path / "pretrained")
    runs = {}
    for is_compiled in (False, True):
        fine, student = (tmp_path / f"{name}_{is_compiled}" for name in ("fine", "student"))
        settings = {**SMALL, "store": store, "compile": is_compiled}
        finetune(FinetuneConfig(**settings, run=pretrained, out=fine, labels=24, freeze=freeze))
        assert bool(graphs) == is_compiled
        n_graphs = len(graphs)
        distill(DistillConfig(**settings, run=fine, out=student))
        assert (len(graphs) > n_graphs) == is_compiled
        runs[is_compiled] = fine, student
    for eager, fast in zip(*runs.values(), strict=True):
        _assert_same(fast, eager, rel=1e-5)


def test_pretraining_compiled_to_machine_code_is_the_eager_one(store, tmp_path):
    eager = _pretrain(store, tmp_path / "eager")
    fast = _pretrain(store, tmp_path / "fast", compile=True)
    _assert_same(fast, eager, rel=1e-2)
    assert read_metrics(fast)[1]["loss"] == pytest.approx(read_metrics(eager)[1]["loss"], rel=1e-5)
