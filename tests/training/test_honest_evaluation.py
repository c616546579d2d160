"""What a run has seen follows it: leaks are refused, transductive figures say so."""

import json
import shutil

import pytest

from medsimclr.config.base import resolve
from medsimclr.config.evaluate import EvaluateConfig
from medsimclr.config.finetune import FinetuneConfig
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.data.policy_fit import fit_policy, training_slides
from medsimclr.errors import IntegrityError, SplitError
from medsimclr.report.evaluate import evaluate
from medsimclr.store.reader import TileStore
from medsimclr.training.finetune import finetune
from medsimclr.training.pretrain import pretrain
from tests.tiny_store import write_tiny_store

SMALL = {"workers": 0, "device": "cpu", "batch_size": 8, "epochs": 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run pretrained on every patient, fine-tuned on the labels of a few."""
    place = tmp_path_factory.mktemp("honest")
    store = write_tiny_store(place / "tiny.zarr", n_patients=8)
    pretrain(
        PretrainConfig(
            **SMALL, store=store, out=place / "pre", view_px=36, policy="simclr", test_fraction=0
        )
    )
    finetune(FinetuneConfig(**SMALL, store=store, run=place / "pre", out=place / "fine", labels=4))
    return place


def write_split(place, tested) -> EvaluateConfig:
    rows = [f"P{i},{'test' if f'P{i}' in tested else 'train'}" for i in range(8)]
    path = place / f"split_{'_'.join(sorted(tested))}.csv"
    path.write_text("\n".join(["patient,split", *rows]) + "\n")
    return EvaluateConfig(
        runs=[place / "fine"],
        store=place / "tiny.zarr",
        out=place / path.stem,
        split=path,
        baselines=False,
        workers=0,
    )


def labelled_patients(place) -> set[str]:
    return set(json.loads((place / "fine" / "lineage.json").read_text())["patients_labelled"])


def test_patients_pretrained_on_are_declared(place):
    unlabelled = {f"P{i}" for i in range(8)} - labelled_patients(place)
    evaluation = evaluate(write_split(place, unlabelled))
    assert evaluation.transductive
    n = len(unlabelled)
    assert f"run 'fine' saw {n} of {n} test patients" in evaluation.notes[0]


def test_patients_whose_labels_were_seen_are_refused(place):
    with pytest.raises(SplitError, match="was trained on with labels in run"):
        evaluate(write_split(place, {min(labelled_patients(place)), "P7", "P6"}))


@pytest.mark.parametrize("is_split", [False, True])
def test_test_patients_that_a_policy_was_fitted_to_are_declared(place, tmp_path, is_split):
    """From the fit by way of its file to the result: the statistics of test patients leak."""
    tested = {f"P{i}" for i in range(8)} - labelled_patients(place)
    evaluating = write_split(place, tested)
    whole = TileStore(place / "tiny.zarr")
    slides = training_slides(whole, evaluating.split if is_split else None)
    fitted = fit_policy("stain_mix", whole, slide_indices=slides, options={}, n_tiles=4, seed=0)
    (tmp_path / "stats.toml").write_text(fitted.toml)
    flags = {"store": whole.path, "out": tmp_path / "pre", "split": evaluating.split, "view_px": 36}
    config = resolve(PretrainConfig, flags={**SMALL, **flags}, toml=tmp_path / "stats.toml")
    lines = []
    pretrain(config, progress=lambda done, total, line: lines.append(line))
    assert sum("fitted to" in line for line in lines) == (not is_split)
    tuning = FinetuneConfig(
        **SMALL, store=whole.path, run=tmp_path / "pre", out=tmp_path / "fine", labels=4
    )
    finetune(tuning)
    # From random weights nothing is left of the pretraining but its policy, or not even that.
    finetune(tuning.with_changes(out=tmp_path / "scratch", init="random"))
    finetune(tuning.with_changes(out=tmp_path / "other", init="random", policy="simclr"))
    runs = [tmp_path / name for name in ("fine", "scratch", "other")]

    evaluation = evaluate(evaluating.with_changes(runs=runs, out=tmp_path / "result"))

    assert evaluation.transductive != is_split
    n = len(tested)
    told = [note for note in evaluation.notes if note.startswith("Transductive")]
    assert told == [
        f"Transductive: run {name!r} saw {n} of {n} test patients in pretraining, in "
        "distillation or in fitting its policy, without their labels."
        for name in (() if is_split else ("fine", "scratch"))
    ]


def test_a_run_begun_before_fitted_patients_were_named_apart_goes_on(place, tmp_path):
    shutil.copytree(place / "pre", tmp_path / "pre")
    path = tmp_path / "pre" / "lineage.json"
    lineage = json.loads(path.read_text())
    assert lineage.pop("policy_fitted_on") == []
    path.write_text(json.dumps(lineage))
    config = resolve(
        PretrainConfig,
        flags={"out": tmp_path / "pre", "policy_fitted_on": ["P0"]},
        toml=tmp_path / "pre" / "config.toml",
    )
    pretrain(config)
    assert json.loads(path.read_text())["policy_fitted_on"] == ["P0"]


def test_baselines_need_the_store_of_the_run(place, tmp_path):
    for name in ("pre", "fine"):
        shutil.copytree(place / name, tmp_path / name)
    toml = (tmp_path / "fine" / "config.toml").read_text()
    (tmp_path / "fine" / "config.toml").write_text(toml.replace(str(place), str(tmp_path)))
    grown = write_tiny_store(tmp_path / "tiny.zarr", n_patients=9)
    unlabelled = {f"P{i}" for i in range(8)} - labelled_patients(place)
    config = write_split(place, unlabelled).with_changes(
        runs=[tmp_path / "fine"], store=grown, out=tmp_path / "eval", baselines=True
    )
    with pytest.raises(IntegrityError, match="has changed since run"):
        evaluate(config)


def test_baselines_are_found_from_another_folder(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    unlabelled = {f"P{i}" for i in range(8)} - labelled_patients(place)
    config = write_split(place, unlabelled).with_changes(out=tmp_path / "eval", baselines=True)
    assert len(evaluate(config).rows) == 4
