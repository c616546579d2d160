"""`pretrain --start-from RUN`: the weights of a run to begin with, and what it saw."""

import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.data.split import write_split
from medsimclr.errors import ConfigError, NoInputError, SplitError
from medsimclr.training.checkpoint import require_checkpoint
from medsimclr.training.checkpoint_files import WEIGHTS
from medsimclr.training.dry_run import dry_run
from medsimclr.training.pretrain import pretrain
from medsimclr.training.run_directory import read_lineage, run_split
from tests.tiny_store import write_tiny_store

SMALL = {
    "workers": 0,
    "device": "cpu",
    "precision": "fp32",
    "batch_size": 8,
    "epochs": 1,
    "view_px": 36,
    "policy": "simclr",
    "health_tiles": 0,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_tiny_store(tmp_path_factory.mktemp("store") / "tiny.zarr")


@pytest.fixture(scope="module")
def before(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "before"
    pretrain(PretrainConfig(**SMALL, store=store, out=out))
    return out


def _weights(run):
    return load_file(require_checkpoint(run).folder / WEIGHTS)


def test_a_run_begins_with_the_weights_of_another(store, before, tmp_path):
    """At a rate of almost nothing the weights stay those of the first run, not of the seed."""
    after = tmp_path / "after"
    settings = SMALL | {"view_px": 40, "base_lr": 1e-30, "weight_decay": 0.0}
    pretrain(PretrainConfig(**settings, store=store, out=after, start_from=before))
    expected, found = _weights(before), _weights(after)
    learnt = [name for name in expected if name.endswith((".weight", ".gamma"))]
    assert learnt
    for name in learnt:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0, msg=name)
    assert read_lineage(after).identity["run"] == require_checkpoint(before).identity()


def test_frozen_batch_norm_keeps_the_statistics_of_the_first_run(store, before, tmp_path):
    after = tmp_path / "after"
    settings = {**SMALL, "micro_batch": 4, "micro_batch_norm": "frozen"}
    pretrain(PretrainConfig(**settings, store=store, out=after, start_from=before))
    expected, found = _weights(before), _weights(after)
    statistics = [name for name in expected if "moving" in name or "running" in name]
    assert statistics
    for name in statistics:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0, msg=name)


def test_what_the_first_run_saw_is_never_drawn_for_the_test_and_stays_recorded(
    store, before, tmp_path
):
    seen = set(read_lineage(before).patients_unlabelled)
    after = tmp_path / "after"
    smaller = {**SMALL, "test_fraction": 0.5}
    pretrain(PretrainConfig(**smaller, store=store, out=after, start_from=before))
    tested = {patient for patient, part in run_split(after).items() if part == "test"}
    assert tested
    assert not tested & seen
    assert set(read_lineage(after).patients_unlabelled) >= seen


def test_a_first_run_that_saw_all_patients_leaves_no_test(store, tmp_path):
    before = tmp_path / "before"
    pretrain(PretrainConfig(**SMALL, store=store, out=before, test_fraction=0))
    config = PretrainConfig(**SMALL, store=store, out=tmp_path / "after", start_from=before)
    with pytest.raises(SplitError, match=r"saw every patient that was drawn .* --test-fraction 0"):
        pretrain(config)
    assert not config.out.exists()


def test_another_network_is_refused(store, before, tmp_path):
    config = PretrainConfig(
        **SMALL, store=store, out=tmp_path / "after", start_from=before, head_layers=2, depth=34
    )
    with pytest.raises(
        ConfigError,
        match=r"got depth 18 where 34 is asked for, head_layers 3 where 2 is asked for; repeat",
    ):
        pretrain(config)
    assert not config.out.exists()


@pytest.mark.parametrize("changes", [{"micro_batch": 4}, {"start_from": "run"}, {}])
def test_frozen_batch_norm_needs_trained_weights_and_micro_batches(changes):
    with pytest.raises(ValueError, match="the moving statistics of drawn weights say nothing"):
        PretrainConfig(**SMALL, store="s", out="o", micro_batch_norm="frozen", **changes)


def test_a_run_that_began_elsewhere_is_named_with_both_places(store, before, tmp_path):
    after, other = tmp_path / "after", tmp_path / "other"
    pretrain(PretrainConfig(**SMALL, store=store, out=after, start_from=before))
    pretrain(PretrainConfig(**SMALL, store=store, out=other, start_from=before, base_lr=0.01))
    digests = [require_checkpoint(run).identity()["weights_sha256"][:8] for run in (before, other)]
    was, wanted = (
        re.escape(f"step 7 of {str(run)!r}, weights {digest}")
        for run, digest in zip((before, other), digests, strict=True)
    )
    again = PretrainConfig(**SMALL, store=store, out=after, start_from=other)
    with pytest.raises(ConfigError, match=rf"\(--start-from: {was} -> {wanted}\); repeat"):
        pretrain(again)
    with pytest.raises(ConfigError, match=rf"\(--start-from: {was} -> not set\); repeat"):
        pretrain(again.with_changes(start_from=None))


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("absent", "must be a run directory, got no folder of that name; give the --out"),
        ("empty", "must be a run directory, got a folder without a lineage.json; give the --out"),
        ("begun", "must be a run directory with a checkpoint, got none; give the --out of pret"),
    ],
)
def test_a_run_that_cannot_be_started_from_is_said_by_its_option(
    store, before, tmp_path, what, found
):
    run = tmp_path / what
    if what != "absent":
        run.mkdir()
    if what == "begun":
        shutil.copy(before / "lineage.json", run)
    config = PretrainConfig(**SMALL, store=store, out=tmp_path / "after", start_from=run)
    said = []
    with pytest.raises(NoInputError, match=f"^--start-from: {re.escape(repr(str(run)))} {found}"):
        dry_run(config, progress=lambda done, total, line: said.append(line))
    assert said == [], "the size of the network comes after what is wrong"


def test_a_given_split_that_tests_patients_whom_the_first_run_saw_is_noted(store, before, tmp_path):
    seen = read_lineage(before).patients_unlabelled
    split = dict.fromkeys(run_split(before), "train") | {seen[0]: "test"}
    path = tmp_path / "swapped.csv"
    write_split(path, split)
    config = PretrainConfig(
        **SMALL, store=store, out=tmp_path / "after", start_from=before, split=path
    )
    lines = []
    pretrain(config, progress=lambda done, total, line: lines.append(line))
    notes = [line for line in lines if line.startswith("note: run ")]
    assert notes == [
        f"note: run {str(before)!r} saw 1 patients who are kept for the test, as {seen[0]!r}, so "
        "that every test on one of them will be transductive."
    ]
