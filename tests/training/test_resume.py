"""Resuming: a stopped run ends with the bits of an uninterrupted one, and says so on the way."""

import json
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import nn

from medsimclr.config.distill import DistillConfig
from medsimclr.config.finetune import FinetuneConfig
from medsimclr.errors import CheckpointedError, ConfigError, NonFiniteLossError
from medsimclr.files.checksum import sha256_of_file
from medsimclr.training import pretrain as pretrain_module
from medsimclr.training.checkpoint import latest_checkpoint, require_checkpoint
from medsimclr.training.checkpoint_files import WEIGHTS
from medsimclr.training.distill import distill
from medsimclr.training.finetune import finetune
from medsimclr.training.pretrain import pretrain
from medsimclr.training.run_log import read_metrics
from tests.tiny_store import write_tiny_store
from tests.training.signals import stop_after
from tests.training.small_run import SMALL, pretrain_config


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_tiny_store(tmp_path_factory.mktemp("store") / "tiny.zarr")


@pytest.fixture(scope="module")
def pretrained(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "pretrained"
    pretrain(pretrain_config(store, out))
    return out


@pytest.fixture(scope="module")
def finetuned(store, pretrained):
    out = pretrained.parent / "finetuned"
    finetune(FinetuneConfig(**SMALL, store=store, run=pretrained, out=out, labels=16, epochs=2))
    return out


def test_ctrl_c_checkpoints_and_interrupts(store, tmp_path):
    config = pretrain_config(store, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, progress=stop_after(2, signal.SIGINT))
    assert latest_checkpoint(config.out)[0].step == 2


def weights_digest(run: Path) -> str:
    return sha256_of_file(require_checkpoint(run).folder / "model.safetensors")


def test_resumed_pretraining_equals_uninterrupted(store, pretrained, tmp_path):
    config = pretrain_config(store, tmp_path / "run")
    with pytest.raises(CheckpointedError, match="stopped by SIGTERM after step 3 of 7"):
        pretrain(config, progress=stop_after(3))
    assert latest_checkpoint(config.out)[0].step == 3
    pretrain(config.with_changes(workers=2))
    assert weights_digest(config.out) == weights_digest(pretrained)
    assert [row["step"] for row in read_metrics(config.out)] == [0, 1, 2, 3, 4, 5, 6, 7]


def test_a_resumed_run_says_where_it_goes_on(store, tmp_path):
    config = pretrain_config(store, tmp_path / "run")
    with pytest.raises(CheckpointedError):
        pretrain(config, progress=stop_after(3))
    lines = []
    assert pretrain(config, progress=lambda done, total, line: lines.append(line)) == 3
    assert lines[0] == "going on after step 3 of 7"


@pytest.mark.parametrize("micro_batch", [1, 7])
def test_a_micro_batch_of_a_single_tile_is_refused(store, tmp_path, micro_batch):
    """Batch norm over two views of one tile makes opposites of them, whatever the tile shows."""
    config = pretrain_config(store, tmp_path / "run", micro_batch=micro_batch)
    with pytest.raises(ConfigError, match=rf"leave no tile alone .* got {micro_batch} of the 8"):
        pretrain(config)
    assert not config.out.exists()


def test_resumed_finetuning_equals_uninterrupted(store, pretrained, finetuned, tmp_path):
    config = FinetuneConfig(
        **SMALL, store=store, run=pretrained, out=tmp_path / "run", labels=16, epochs=2
    )
    with pytest.raises(CheckpointedError):
        finetune(config, progress=stop_after(2))
    assert finetune(config) == 2
    assert weights_digest(config.out) == weights_digest(finetuned)


def test_resumed_distillation_equals_uninterrupted(store, finetuned, tmp_path):
    whole = DistillConfig(**SMALL, store=store, run=finetuned, out=tmp_path / "whole", epochs=1)
    distill(whole)
    stopped = whole.with_changes(out=tmp_path / "stopped")
    with pytest.raises(CheckpointedError):
        distill(stopped, progress=stop_after(2))
    assert distill(stopped) == 2
    assert weights_digest(stopped.out) == weights_digest(whole.out)


def test_finished_run_is_left_alone(store, pretrained):
    before = weights_digest(pretrained)
    lines = []
    config = pretrain_config(store, pretrained)
    assert pretrain(config, progress=lambda done, total, line: lines.append(line)) == 7
    assert lines == ["already done"]
    assert weights_digest(pretrained) == before


def test_other_configuration_is_refused_with_the_difference(store, pretrained):
    with pytest.raises(ConfigError, match=r"temperature: 0\.1 -> 0\.5"):
        pretrain(pretrain_config(store, pretrained, temperature=0.5))


def test_a_run_keeps_to_being_compiled_or_not(store, tmp_path, monkeypatch):
    """Compiled code sums in another order; a run would end in other bits."""
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(nn.Module, "compile", lambda module: None)
    config = pretrain_config(store, tmp_path / "run", health_tiles=0)
    pretrain(config)
    with pytest.raises(ConfigError, match=r"compile: 'not set' -> True"):
        pretrain(config.with_changes(compile=True))
    compiled = config.with_changes(compile=True, out=tmp_path / "compiled")
    pretrain(compiled)
    pretrain(compiled)
    with pytest.raises(ConfigError, match=r"compile: True -> 'not set'"):
        pretrain(compiled.with_changes(compile=False))


def test_other_store_is_refused(pretrained, tmp_path):
    other = write_tiny_store(tmp_path / "other.zarr", seed=1)
    with pytest.raises(ConfigError, match="store_sha256"):
        pretrain(pretrain_config(other, pretrained))


def test_output_with_files_of_others_is_refused_and_left_as_it_is(store, tmp_path):
    film = tmp_path / "home" / "downloads" / "film.mkv.partial"
    film.parent.mkdir(parents=True)
    film.write_bytes(b"half")
    with pytest.raises(ConfigError, match="must be new, empty or a run directory"):
        pretrain(pretrain_config(store, tmp_path / "home"))
    assert film.read_bytes() == b"half"


def test_gradient_that_is_not_finite_updates_nothing(store, tmp_path, monkeypatch):
    """A loss may be finite where its gradient is not."""

    def accumulate(config, model, session):
        def broken(batch):
            figures = gradient_of(config, model, session)(batch)
            next(model.parameters()).grad[0] = float("inf")
            return figures

        return broken

    gradient_of = pretrain_module.contrastive_gradient
    monkeypatch.setattr(pretrain_module, "contrastive_gradient", accumulate)
    config = pretrain_config(store, tmp_path / "run")
    with pytest.raises(NonFiniteLossError, match=r"the gradient's norm of step 1 must be finite"):
        pretrain(config)
    assert latest_checkpoint(config.out)[0] is None


def test_run_killed_at_its_very_start_is_taken_up(store, pretrained, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "lineage.json").write_bytes((pretrained / "lineage.json").read_bytes())
    (run / "config.toml.partial").write_text("half")
    pretrain(pretrain_config(store, run))
    assert weights_digest(run) == weights_digest(pretrained)


def test_finetuning_again_from_other_weights_is_refused(store, tmp_path):
    config = pretrain_config(store, tmp_path / "pre")
    with pytest.raises(CheckpointedError):
        pretrain(config, progress=stop_after(3))
    tuning = FinetuneConfig(
        **SMALL, store=store, run=config.out, out=tmp_path / "run", labels=8, epochs=1
    )
    finetune(tuning)
    pretrain(config)
    with pytest.raises(ConfigError, match=r"another configuration \(PRETRAIN_RUN: step"):
        finetune(tuning)


def test_finetuning_again_with_other_labels_is_refused(store, pretrained, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("slide,label\n" + "".join(f"slide_{i},normal\n" for i in range(3)))
    table.write_text(table.read_text() + "".join(f"slide_{i},tumor\n" for i in range(3, 6)))
    config = FinetuneConfig(
        **SMALL,
        store=store,
        run=pretrained,
        out=tmp_path / "run",
        labels=8,
        epochs=1,
        label_table=table,
    )
    finetune(config)
    table.write_text(table.read_text().replace("slide_5,tumor", "slide_5,normal"))
    with pytest.raises(ConfigError, match="label_table: "):
        finetune(config)


def test_non_finite_loss_stops_before_the_update(store, tmp_path):
    config = pretrain_config(
        store, tmp_path / "run", optimizer="sgd", base_lr=1e30, checkpoint_minutes=1e-9
    )
    with pytest.raises(NonFiniteLossError, match=r"the loss of step \d+ must be finite, got nan"):
        pretrain(config)
    for tensor in load_file(require_checkpoint(config.out).folder / WEIGHTS).values():
        assert tensor.float().isfinite().all()


def test_finetuning_starts_from_the_pretrained_weights(store, pretrained, tmp_path):
    config = FinetuneConfig(
        **SMALL,
        store=store,
        run=pretrained,
        out=tmp_path / "frozen",
        labels=8,
        epochs=1,
        freeze=True,
    )
    finetune(config)
    before = load_file(require_checkpoint(pretrained).folder / WEIGHTS)
    after = load_file(require_checkpoint(config.out).folder / WEIGHTS)
    kept = [key for key in after if key.startswith("encoder.")]
    assert kept
    for key in kept:
        assert (before[key] == after[key]).all(), key
    for key, value in after.items():
        if key.startswith("head_layers."):
            assert (before[key.replace("head_layers.", "head.layers.")] == value).all(), key
    assert any(key.startswith("head_layers.0.dense") for key in after)
    assert after["supervised_head.weight"].abs().sum() > 0


def test_only_training_patients_are_seen(finetuned):
    split = (finetuned / "split.csv").read_text()
    lineage = json.loads((finetuned / "lineage.json").read_text())
    train = {line.split(",")[0] for line in split.splitlines() if line.endswith(",train")}
    assert set(lineage["patients_labelled"]) <= train
    assert set(lineage["patients_unlabelled"]) == train
    labelled = (finetuned / "labelled_tiles.csv").read_text().splitlines()
    assert len(labelled) == 17
