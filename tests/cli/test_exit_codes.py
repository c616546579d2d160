"""The documented exit codes that come from what happens rather than from what was asked."""

import os
import signal
import subprocess

import numpy as np
import pytest
from PIL import Image

from medsimclr.files.lock import exclusive_lock
from medsimclr.training.checkpoint import latest_checkpoint
from tests.cli.command import COMMAND, assert_refused, medsimclr
from tests.tiny_store import write_tiny_store

PRETRAIN = "pretrain tiny.zarr --out run --view-px 36 --batch-size 8 --policy simclr --device cpu"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("codes")
    write_tiny_store(place / "tiny.zarr")
    rng = np.random.default_rng(0)
    tissue = rng.integers(0, 60, (300, 300, 3)) + np.array([180, 60, 120])
    Image.fromarray(tissue.astype(np.uint8)).save(place / "good.png")
    (place / "bad.svs").write_bytes(b"this is no slide")
    return place


def test_partly_done_tiles_the_good_slide_and_names_the_bad_one(place):
    words = "tile good.png bad.svs --out partly.zarr --mpp 0.5 --source-mpp 0.5 --tile-px 64"
    result = medsimclr(*words.split(), cwd=place)
    assert_refused(result, 3, "1 slides were refused")
    assert "refused bad: 'bad.svs' is no slide" in result.stdout
    assert "good: 16 tiles" in result.stdout


def test_output_that_cannot_be_written(place):
    words = "tile good.png --out /proc/store.zarr --mpp 0.5 --source-mpp 0.5"
    assert_refused(medsimclr(*words.split(), cwd=place), 5, "must be writable and have room")


def test_locked_output(place):
    with exclusive_lock(place / "locked.zarr"):
        words = "tile good.png --out locked.zarr --mpp 0.5 --source-mpp 0.5"
        result = medsimclr(*words.split(), cwd=place)
    assert_refused(result, 6, "is being written by another process")


def test_diverged_loss(place):
    words = f"{PRETRAIN.replace('run', 'diverged')} --workers 0 --epochs 2"
    settings = ["--set", "optimizer=sgd", "--set", "base_lr=1e30"]
    assert_refused(medsimclr(*words.split(), *settings, cwd=place), 8, "must be finite, got nan")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)]
)
def test_signal_to_the_process_group_checkpoints(place, number, code):
    """Schedulers signal the group, loader workers included."""
    run = place / f"run_{number.name}"
    words = [*PRETRAIN.replace("run", run.name).split(), "--epochs", "500", "--workers", "1"]
    process = subprocess.Popen(
        [*COMMAND, *words, "--set", "log_seconds=0.001"],
        cwd=place,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "loss" in line, line
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    checkpoint, damaged = latest_checkpoint(run)
    assert checkpoint is not None
    assert checkpoint.step >= 1
    assert not damaged
