"""A dry run says what would be, each thing as soon as it is known, and leaves nothing behind."""

import json
import re
import resource
import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from medsimclr.cli.main import app
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.errors import ConfigError, IntegrityError
from medsimclr.models.simclr import SimCLR
from medsimclr.training import dry_run as module
from medsimclr.training import pretrain as pretraining
from medsimclr.training.dry_run import dry_run
from medsimclr.training.pretrain import pretrain
from tests.tiny_store import write_tiny_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_tiny_store(tmp_path_factory.mktemp("store") / "tiny.zarr")


def config_of(store, out, **changes):
    settings = {"workers": 0, "device": "cpu", "precision": "fp32", "batch_size": 8}
    settings |= {"view_px": 32, "policy": "simclr", "epochs": 2, **changes}
    return PretrainConfig(store=store, out=out, **settings)


def test_it_says_what_would_be_trained_and_writes_nothing(store, tmp_path):
    lines = []
    planned = dry_run(
        config_of(store, tmp_path / "run"), progress=lambda done, total, line: lines.append(line)
    ).record()
    assert (planned["tiles"], planned["patients"]) == (48, 4)
    assert (planned["test_tiles"], planned["test_patients"]) == (24, 2)
    assert planned["steps"] == 48 * 2 // 8 + 1
    assert planned["encoder_parameters"] == 11_173_056
    # Weights, gradients and momentum, of 4 bytes each.
    n_parameters = 11_173_056 + planned["head_parameters"]
    assert planned["weights_mb"] == pytest.approx(12 * n_parameters / 1e6)
    assert planned["seconds_per_step"] > 0
    assert planned["memory_mb"] > planned["weights_mb"]
    assert planned["gpu_memory_mb"] is None
    assert lines[1] == "would train on 48 tiles of 4 patients, and keep 24 tiles of 2 for the test"
    assert lines[-1].endswith(f"; at most {planned['memory_mb']:.0f} MB of memory")
    assert list(tmp_path.iterdir()) == []


def test_the_memory_is_the_most_that_the_steps_had_at_once(store, tmp_path, monkeypatch):
    def memory_mb(step_bytes):
        def steps(*_):
            return float(np.ones(step_bytes, np.uint8).mean())

        monkeypatch.setattr(module, "_seconds_per_step", steps)
        return dry_run(config_of(store, tmp_path / "run")).cost.memory_mb

    before_mb = memory_mb(1)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert before_mb == pytest.approx(peak_kib * 1024 / 1e6, rel=0.1)
    n_bytes = round(before_mb * 1e6) + 100_000_000  # the peak is that of the whole process
    assert n_bytes / 1e6 < memory_mb(n_bytes) < 2 * before_mb + 200


def test_sizes_are_said_before_weights_are_made_and_steps_computed(store, tmp_path, monkeypatch):
    said = []

    def progress(done, total, line):
        said.append(line)

    def end(*_, **__):
        raise KeyboardInterrupt

    for place, victim, n_lines in ((pretraining, "starting_network", 1), (module, "take_step", 4)):
        said.clear()
        monkeypatch.setattr(place, victim, end)
        with pytest.raises(KeyboardInterrupt):
            dry_run(config_of(store, tmp_path / "run"), progress=progress)
        monkeypatch.undo()
        assert len(said) == n_lines
    assert re.match(r"encoder 11\.17 M parameters \(small stem\), head 0\.59 M: 141 MB", said[0])
    assert said[2].startswith("13 steps, ")


def test_json_is_one_object_and_the_lines_are_beside_it(store, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_seconds_per_step", lambda *_: 0.5)
    words = f"pretrain {store} --out {tmp_path / 'run'} --batch-size 8 --view-px 32 --device cpu"
    words += " --policy simclr --dry-run"
    plain = CliRunner().invoke(app, words.split())
    assert plain.stdout.startswith("encoder 11.17 M")
    assert plain.stderr == ""
    as_json = CliRunner().invoke(app, [*words.split(), "--json"])
    assert json.loads(as_json.stdout)["seconds_per_step"] == 0.5
    assert as_json.stderr.startswith("encoder 11.17 M")


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        (MemoryError(), "asked for more"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 by"),
            "tried to allocate 64 by",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has"),
            r"tried to allocate 2\.50 GiB",
        ),
    ],
)
def test_steps_that_do_not_fit_the_memory_are_refused_with_advice(
    store, tmp_path, monkeypatch, error, fact
):
    def forward(self, images_BCHW):
        raise error

    monkeypatch.setattr(SimCLR, "forward", forward)
    with pytest.raises(ConfigError, match=rf"the training {fact}; give a smaller --batch-size or"):
        dry_run(config_of(store, tmp_path / "run"))


def test_an_output_of_another_run_is_refused_before_anything_is_computed(store, tmp_path):
    config = config_of(store, tmp_path / "run", epochs=1)
    pretrain(config)
    with pytest.raises(ConfigError, match=r"epochs: 1 -> 2"):
        dry_run(config.with_changes(epochs=2))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"policy": "missing.yaml"}, "'missing.yaml' cannot be read: No such file or directory;"),
        ({"split": "none.csv"}, "'none.csv' must be .* No such file or directory; check its path"),
        ({"batch_size": 64}, "--batch-size must be at most the 48 training tiles, got 64"),
    ],
)
def test_what_is_wrong_is_said_before_the_size_of_the_network(store, tmp_path, changes, sentence):
    said = []
    with pytest.raises(ConfigError, match=sentence):
        dry_run(
            config_of(store, tmp_path / "run", **changes),
            progress=lambda done, total, line: said.append(line),
        )
    assert said == []


def test_a_training_that_keeps_nobody_for_the_test_notes_it(store, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_seconds_per_step", lambda *_: 0.5)
    split = tmp_path / "split.csv"
    split.write_text("patient,split\n" + "".join(f"P{i},train\n" for i in range(6)))
    for changes in ({"split": split}, {"test_fraction": 0.0}):
        said = []
        dry_run(
            config_of(store, tmp_path / "run", **changes),
            progress=lambda done, total, line, said=said: said.append(line),
        )
        assert said[0].startswith("note: none of the 6 patients is kept for the test")


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.0, "7 steps, 0 of them warm-up to a rate of 0.2828"),
        (0.05, "7 steps, none of them warm-up (a step is more than 0.05 of the epochs), at a rate"),
        (0.5, "7 steps, 3 of them warm-up to a rate of 0.2828"),
    ],
)
def test_a_warm_up_of_less_than_a_step_is_none_and_said(store, tmp_path, monkeypatch, share, said):
    monkeypatch.setattr(module, "_seconds_per_step", lambda *_: 0.5)
    config = config_of(store, tmp_path / "run", epochs=1, warmup_share=share)
    assert any(line.startswith(said) for line in dry_run(config).course.lines())


def test_a_run_that_was_begun_or_is_finished_is_said_to_be(store, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_seconds_per_step", lambda *_: 0.5)
    lines = []

    def progress(done, total, line):
        lines.append(line)

    config = config_of(store, tmp_path / "run", epochs=1, checkpoint_minutes=1e-9, health_tiles=0)
    pretrain(config)
    finished = dry_run(config, progress=progress)
    assert lines[-1] == "already finished: the same command would do nothing more"
    assert (finished.cost, finished.record()["steps_done"]) == (None, 7)
    shutil.rmtree(config.out / "checkpoints" / "step_00000007")
    begun = dry_run(config, progress=progress)
    assert lines[-2] == "would go on after step 6 of 7"
    assert lines[-1].startswith("0.5 s a step: about 1 s; at most")
    assert begun.record()["steps_done"] == 6
    manifest = config.out / "checkpoints" / "step_00000006" / "manifest.json"
    manifest.write_text("{")
    with pytest.raises(IntegrityError, match="must have a whole checkpoint to go on from, got 1"):
        dry_run(config)
    assert manifest.read_text() == "{"
