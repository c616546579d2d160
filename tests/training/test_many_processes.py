"""A training's own parts in real processes: together they compute what one process does."""

import pytest
import torch

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.distributed.gradients import sum_gradients
from medsimclr.distributed.group import SINGLE, Group
from medsimclr.errors import ConfigError
from medsimclr.models.batch_norm import synchronise_batch_norm
from medsimclr.training.compute import Compute
from medsimclr.training.pretrain import contrastive_gradient, prepare
from medsimclr.training.session import Session, load_share, share_of
from tests.tiny_store import write_tiny_store

_COMPUTE = Compute(torch.device("cpu"), "fp32")


def _first_step(group: Group, config: PretrainConfig) -> dict[str, torch.Tensor]:
    """Return the summed figures and gradients of the first step of a pretraining."""
    session = Session(_COMPUTE, group)
    pretraining = prepare(config, session)
    # In float64 what differs is an error and not rounding; views are the same bytes.
    model = pretraining.model.double()
    synchronise_batch_norm(model, group)
    model.encoder.register_forward_pre_hook(lambda encoder, images: (images[0].double(),))
    batches = load_share(
        config,
        session,
        tiles=pretraining.tiles,
        policy=pretraining.policy,
        kind="contrastive",
        view_px=config.view_px,
        steps=range(1),
    )
    figures = contrastive_gradient(config, model, session)(next(batches))
    sum_gradients(model.parameters(), group)
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    summed = {name: group.sum(figures[name]) for name in ("loss", "accuracy", "entropy")}
    return {**summed, **gradients, **dict(model.named_buffers())}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_tiny_store(tmp_path_factory.mktemp("store") / "tiny.zarr")


@pytest.mark.parametrize("micro_batch", [None, 4])
def test_a_pretraining_step_of_two_processes_is_that_of_one(
    processes, store, tmp_path, micro_batch
):
    config = PretrainConfig(
        store=store,
        out=tmp_path / "run",
        workers=0,
        batch_size=8,
        view_px=32,
        policy="simclr",
        micro_batch=micro_batch,
        # Micro-batches of two processes hold other tiles together than those of one.
        micro_batch_norm="frozen",
    )
    alone = _first_step(SINGLE, config)
    for together in processes.run(_first_step, config, size=2):
        for name, expected in alone.items():
            torch.testing.assert_close(together[name], expected, rtol=1e-8, atol=1e-10, msg=name)


def test_a_batch_that_has_no_equal_shares_is_refused():
    with pytest.raises(
        ConfigError,
        match=r"--batch-size must be a multiple of the 4 processes, "
        r"got 10; give 8 or another number",
    ):
        share_of("--batch-size", 10, Group(0, 4))
    assert share_of("--batch-size", 12, Group(0, 4)) == 3
