"""Resuming where checkpoints are damaged: the last whole one is used, or none and nothing lost."""

import json

import pytest

from medsimclr.config.finetune import FinetuneConfig
from medsimclr.errors import IntegrityError
from medsimclr.training.checkpoint import latest_checkpoint, require_checkpoint
from medsimclr.training.finetune import finetune
from medsimclr.training.pretrain import pretrain
from tests.tiny_store import write_tiny_store
from tests.training.small_run import SMALL, pretrain_config


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_tiny_store(tmp_path_factory.mktemp("store") / "tiny.zarr")


def test_damaged_checkpoint_is_passed_over_for_the_one_before(store, tmp_path):
    config = pretrain_config(store, tmp_path / "run", checkpoint_minutes=1e-9)
    pretrain(config)
    newest = latest_checkpoint(config.out)[0].folder
    weights = newest / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    checkpoint, damaged = latest_checkpoint(config.out)
    assert checkpoint.step == 6
    assert "model.safetensors fails its SHA-256" in damaged[0]


def test_resume_after_damage_ends_with_whole_checkpoints(store, tmp_path):
    config = pretrain_config(store, tmp_path / "run", checkpoint_minutes=1e-9)
    pretrain(config)
    newest = latest_checkpoint(config.out)[0].folder
    (newest / "model.safetensors").write_bytes(b"")
    lines = []
    pretrain(config, progress=lambda done, total, line: lines.append(line))
    assert "going on from step 6, the last that is whole" in lines
    checkpoint, damaged = latest_checkpoint(config.out)
    assert checkpoint.step == 7
    assert not damaged


def test_resume_where_none_is_whole_is_refused_and_deletes_nothing(store, tmp_path):
    config = pretrain_config(store, tmp_path / "run", checkpoint_minutes=1e-9)
    pretrain(config)
    folders = sorted((config.out / "checkpoints").iterdir())
    for folder in folders:
        (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"must have a whole checkpoint .* got 2 that are"):
        pretrain(config)
    assert sorted((config.out / "checkpoints").iterdir()) == folders


def test_damaged_newest_checkpoint_is_named_where_its_run_is_used(store, tmp_path):
    config = pretrain_config(store, tmp_path / "pre", checkpoint_minutes=1e-9)
    pretrain(config)
    newest = latest_checkpoint(config.out)[0].folder
    (newest / "model.safetensors").write_bytes(b"")
    lines = []
    finetune(
        FinetuneConfig(
            **SMALL, store=store, run=config.out, out=tmp_path / "run", labels=8, epochs=1
        ),
        progress=lambda done, total, line: lines.append(line),
    )
    assert "fails its SHA-256" in lines[0]
    assert "Step 6 of" in lines[0]


def test_run_of_damaged_checkpoints_alone_is_an_integrity_error(tmp_path):
    folder = tmp_path / "run" / "checkpoints" / "step_00000001"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"step": 1}))
    with pytest.raises(IntegrityError, match="is damaged"):
        require_checkpoint(tmp_path / "run")
