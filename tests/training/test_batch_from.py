"""Batches of few patients: from the option to the batch, in one process and several."""

import json
import os
import signal

import numpy as np
import pytest
import torch

from medsimclr.config.batch_from import BatchFrom
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.config.training import TrainingConfig
from medsimclr.data.tile_index import TileIndex
from medsimclr.distributed.group import SINGLE, Group
from medsimclr.errors import CheckpointedError, ConfigError
from medsimclr.files.checksum import sha256_of_file
from medsimclr.models import resnet
from medsimclr.training.checkpoint import require_checkpoint
from medsimclr.training.compute import Compute
from medsimclr.training.material import batch_units
from medsimclr.training.pretrain import prepare, pretrain
from medsimclr.training.session import Session
from medsimclr.training.tile_training import load_share, plan_of
from tests.tiny_store import write_tiny_store

_COMPUTE = Compute(torch.device("cpu"), "fp32")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_tiny_store(tmp_path_factory.mktemp("store") / "tiny.zarr")


def config_of(store, out, **changes):
    settings = {"workers": 0, "device": "cpu", "precision": "fp32", "batch_size": 8, "epochs": 1}
    settings |= {"view_px": 16, "policy": "simclr", "batch_from": "patients=2", **changes}
    return PretrainConfig(store=store, out=out, **settings)


def batches_of(config, group=SINGLE, n_steps=7):
    session = Session(_COMPUTE, group)
    training = prepare(config, session)
    return list(load_share(config, session, training, range(n_steps)))


def test_processes_and_loaders_read_together_the_batches_of_one(store, tmp_path):
    config = config_of(store, tmp_path / "run")
    alone = batches_of(config)
    parts = [batches_of(config.with_changes(workers=rank), Group(rank, 2)) for rank in (0, 1)]
    for (views_VBHWC, _), *slices in zip(alone, *parts, strict=True):
        joined = torch.cat([views_VnHWC for views_VnHWC, _ in slices], dim=1)
        assert torch.equal(joined, views_VBHWC)
    assert not torch.equal(alone[0][0], batches_of(config.with_changes(batch_from=None))[0][0])


def test_resumed_pretraining_equals_uninterrupted(store, tmp_path, monkeypatch):
    monkeypatch.setattr(resnet, "_BASE_CHANNELS", 8)

    def stop(done, total, line):
        if done == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    config = config_of(store, tmp_path / "stopped")
    with pytest.raises(CheckpointedError, match="after step 3 of 7"):
        pretrain(config.with_changes(log_seconds=1e-6), progress=stop)
    pretrain(config.with_changes(workers=2))
    whole = config.with_changes(out=tmp_path / "whole")
    pretrain(whole)
    digests = [
        sha256_of_file(require_checkpoint(run).folder / "model.safetensors")
        for run in (config.out, whole.out)
    ]
    assert digests[0] == digests[1]
    identity = json.loads((whole.out / "lineage.json").read_text())["identity"]
    assert identity["batch_from"] == "patients=2"
    with pytest.raises(ConfigError, match="batch_from: 'patients=2' -> 'slides=2'"):
        pretrain(whole.with_changes(batch_from="slides=2"))


def test_without_the_option_nothing_of_it_is_recorded_and_steps_are_the_same(store, tmp_path):
    config = config_of(store, tmp_path / "run")
    every = config.with_changes(batch_from=None)
    assert "batch_from" not in every.identity()
    session = Session(_COMPUTE, SINGLE)
    plans = [plan_of(asked, prepare(asked, session)) for asked in (config, every)]
    assert plans[0] == plans[1]


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("patients=2", "each batch is drawn from patients=2, 4 tiles of each"),
        ("slides=4", "each batch is drawn from slides=4, 2 tiles of each"),
        (
            "patients=1",
            "each batch is drawn from patients=1, 16 tiles of each; 4 of the 4 patients have fewer "
            "and are put together with others, so that a batch may hold 2",
        ),
    ],
)
def test_what_a_batch_holds_is_said(store, tmp_path, asked, line):
    lines = []
    config = config_of(
        store, tmp_path / "run", batch_from=asked, batch_size=16 if asked == "patients=1" else 8
    )
    prepare(
        config,
        Session(_COMPUTE, SINGLE),
        progress=lambda done, total, line: lines.append(line),
    )
    assert lines == [line]


def test_patients_have_all_their_slides():
    tiles = TileIndex(
        id_N=np.arange(48),
        slide_N=np.repeat([5, 3, 9, 8], 12),
        row_N=np.arange(48),
        label_N=np.zeros(48, np.int64),
        patient_N=np.repeat(["b", "a", "b", "c"], 12),
        unit_N=np.repeat(["b", "a", "b", "c"], 12),
        level0_xy_N2=np.zeros((48, 2), np.int64),
    )
    config = TrainingConfig(store="s", out="o", batch_size=8)
    found = {}
    for origin in ("patients", "slides"):
        units = batch_units(config, tiles, wanted=BatchFrom(n=2, origin=origin))
        found[origin] = sorted(
            {tuple(sorted({*tiles.slide_N[unit].tolist()})) for unit in units.tiles}
        )
    assert found["slides"] == [(3,), (5,), (8,), (9,)]
    assert found["patients"] == [(3,), (5, 9), (8,)]


@pytest.mark.parametrize("asked", ["patient=2", "patients=0", "slides=-1", "patients=", "2", "all"])
def test_words_that_say_nothing_are_refused(store, tmp_path, asked):
    with pytest.raises(ValueError, match=rf"must be patients=K or slides=K, .* got '{asked}'"):
        config_of(store, tmp_path / "run", batch_from=asked)


def test_unequal_shares_are_refused(store, tmp_path):
    with pytest.raises(ValueError, match=r"divides the --batch-size of 8, got 'patients=3'"):
        config_of(store, tmp_path / "run", batch_from="patients=3")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batch_from": "patients=8"}, r"at most the 4 patients that are trained on, got 'pa"),
        ({"batch_from": "slides=8"}, r"at most the 4 slides that are trained on, got 'slides=8'"),
        ({"batch_size": 18}, r"tiles for three batches, got 48 and a --batch-size of 18; lower"),
    ],
)
def test_more_than_the_store_has_is_refused(store, tmp_path, changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        pretrain(config_of(store, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()
