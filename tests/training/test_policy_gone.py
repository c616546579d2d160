"""A run whose policy is gone: it serves for inference, and says what training on needs."""

import json

import pytest

from medsimclr.config.distill import DistillConfig
from medsimclr.config.evaluate import EvaluateConfig
from medsimclr.config.finetune import FinetuneConfig
from medsimclr.config.heatmap import HeatmapConfig
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.errors import PolicyError
from medsimclr.report.evaluate import evaluate
from medsimclr.report.slide_pictures import draw_heatmap
from medsimclr.training.distill import distill
from medsimclr.training.finetune import finetune
from medsimclr.training.pretrain import pretrain
from tests.tiny_store import write_tiny_store

SMALL = {"workers": 0, "device": "cpu", "batch_size": 8, "epochs": 1}
_POLICY = """
from dataclasses import dataclass
import albumentations as A

@dataclass(frozen=True, kw_only=True)
class Mine:
    flip_p: float = 0.5

    def contrastive(self, view_px):
        return A.Compose([A.Resize(view_px, view_px), A.HorizontalFlip(p=self.flip_p)])

    supervised = contrastive
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two runs, pretrained and fine-tuned with a policy file that is deleted afterwards."""
    place = tmp_path_factory.mktemp("gone")
    store = write_tiny_store(place / "tiny.zarr")
    (place / "mine.py").write_text(_POLICY)
    pretrain(
        PretrainConfig(
            **SMALL,
            store=store,
            out=place / "pre",
            view_px=36,
            policy=f"{place / 'mine.py'}:Mine",
            policy_options={"flip_p": 0.25},
        )
    )
    finetune(FinetuneConfig(**SMALL, store=store, run=place / "pre", out=place / "fine", labels=16))
    (place / "mine.py").unlink()
    return place


def test_the_runs_record_class_fields_and_versions(place):
    for run in ("pre", "fine"):
        record = json.loads((place / run / "lineage.json").read_text())["policy_record"]

        assert record["class"].startswith("policy_file_mine_")
        assert record["fields"] == {"flip_p": 0.25}
        assert set(record) == {"class", "fields", "distribution", "version", "albumentations"}


def test_evaluation_and_heatmap_do_without_and_say_which_baseline_is_missing(place):
    store = place / "tiny.zarr"

    evaluation = evaluate(
        EvaluateConfig(runs=[place / "fine"], store=store, out=place / "eval", workers=0)
    )
    draw_heatmap(
        HeatmapConfig(run=place / "fine", store=store, slide="slide_0", out=place / "heat.png")
    )

    names = [row.name for row in evaluation.rows]
    assert names == ["fine", "random encoder + linear", "colour statistics"]
    assert evaluation.notes[0].startswith(
        "supervised from scratch is left out: augmentation policy"
    )
    assert (place / "heat.png").is_file()


def test_inference_alone_never_loads_a_policy(place, monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("inference loaded a policy")

    for name in ("discovery.load_policy", "recorded.load_recorded_policy"):
        monkeypatch.setattr(f"medsimclr.augment.{name}", refuse)
    monkeypatch.setattr("medsimclr.training.inheritance.load_policy", refuse)
    monkeypatch.setattr("medsimclr.training.inheritance.load_recorded_policy", refuse)
    store, out = place / "tiny.zarr", place / "alone"

    config = EvaluateConfig(runs=[place / "fine"], store=store, out=out, baselines=False, workers=0)

    assert [row.name for row in evaluate(config).rows] == ["fine"]


@pytest.mark.parametrize("command", ["finetune", "distill"])
def test_training_on_says_what_is_missing_and_takes_another_policy(place, command):
    settings = {**SMALL, "store": place / "tiny.zarr", "out": place / command}
    if command == "finetune":
        settings |= {"run": place / "pre", "labels": 16}
        config_class, train = FinetuneConfig, finetune
    else:
        settings |= {"run": place / "fine"}
        config_class, train = DistillConfig, distill

    with pytest.raises(
        PolicyError,
        match=r"mine.py:Mine' of the run before cannot be loaded: .*No such file or directory.* "
        r"Put its file back, or give --policy \(evaluate and heatmap do without\).",
    ):
        train(config_class(**settings))
    assert not settings["out"].exists()

    train(config_class(**settings, policy="geometry"))

    record = json.loads((settings["out"] / "lineage.json").read_text())["policy_record"]
    assert record["class"] == "augment_policies.geometry:GeometryPolicy"
