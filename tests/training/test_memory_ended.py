"""Memory that ends in the middle of a training: a sentence, exit 2, and the checkpoint stays."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from medsimclr.cli.main import app
from medsimclr.config.distill import DistillConfig
from medsimclr.config.finetune import FinetuneConfig
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.errors import ConfigError, NoInputError
from medsimclr.models.simclr import SimCLR
from medsimclr.training import loop
from medsimclr.training.checkpoint import require_checkpoint
from medsimclr.training.session import open_session
from medsimclr.training.step import take_step
from tests.tiny_store import write_tiny_store

PLACES = {"store": "s", "out": "o", "device": "cpu"}
CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 64 bytes. Error code 12 (Cannot allocate memory)"
)
NUMPY = np._core._exceptions._ArrayMemoryError((1 << 40,), np.dtype(np.uint8))


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        (CPU, "tried to allocate 64 bytes"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has"),
            "tried to allocate 2.50 GiB",
        ),
        (NUMPY, "tried to allocate 1.00 TiB"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "asked for more"),
        (OSError(12, "Cannot allocate memory"), "asked for more"),
        (MemoryError(), "asked for more"),
    ],
)
@pytest.mark.parametrize(
    ("config", "options"),
    [
        (PretrainConfig(**PLACES), "--batch-size or --view-px or --micro-batch"),
        (FinetuneConfig(**PLACES, run="r"), "--batch-size"),
        (DistillConfig(**PLACES, run="r"), "--batch-size"),
    ],
)
def test_refused_memory_is_said_with_what_to_make_smaller(error, fact, config, options):
    with pytest.raises(ConfigError) as told, open_session(config):
        raise error
    assert str(told.value) == (
        f"network and activations must fit the memory, got a refusal when the training {fact}; "
        f"give a smaller {options}, with another --out if this one has begun, or --set "
        "recompute=true. What was saved stays."
    )


@pytest.mark.parametrize(
    "error", [RuntimeError("expected scalar type Half"), NoInputError("out of memory")]
)
def test_another_error_stays_what_it_is(error):
    with pytest.raises(type(error)) as raised, open_session(PretrainConfig(**PLACES)):
        raise error
    assert raised.value is error


def test_what_was_saved_stays_and_the_command_exits_with_2(tmp_path, monkeypatch):
    def forward(self, images_BCHW):
        raise CPU

    def take_one_step(step, *args, **kwargs):
        if step == 1:
            monkeypatch.setattr(SimCLR, "forward", forward)
        return take_step(step, *args, **kwargs)

    monkeypatch.setattr(loop, "take_step", take_one_step)
    monkeypatch.chdir(tmp_path)
    write_tiny_store(tmp_path / "tiny.zarr")
    words = "pretrain tiny.zarr --out run --view-px 32 --policy simclr --batch-size 8 --epochs 1"
    words += " --workers 0 --device cpu --set checkpoint_minutes=1e-9"
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("medsimclr: network and activations must fit")
    assert require_checkpoint(tmp_path / "run").step == 1
