"""Trainings in real processes: together they compute what one process does."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.distributed.gradients import sum_gradients
from medsimclr.distributed.group import SINGLE, Group
from medsimclr.errors import ConfigError
from medsimclr.models import resnet
from medsimclr.models.batch_norm import synchronise_batch_norm
from medsimclr.training.checkpoint import require_checkpoint
from medsimclr.training.checkpoint_files import STATE, WEIGHTS
from medsimclr.training.compute import Compute
from medsimclr.training.pretrain import contrastive_gradient, prepare
from medsimclr.training.run_log import read_metrics
from medsimclr.training.session import Session, share_of
from medsimclr.training.tile_training import load_share
from tests.tiny_store import patches, write_tiny_store

_COMPUTE = Compute(torch.device("cpu"), "fp32")


def _first_step(
    group: Group, config: PretrainConfig, rows: list[int] | None = None
) -> dict[str, torch.Tensor]:
    """Return the summed figures and gradients of the first step of a pretraining.

    `rows` are those of the batch to pass, in this order.
    """
    session = Session(_COMPUTE, group)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(resnet, "_BASE_CHANNELS", 8)
        training = prepare(config.model_copy(update={"start_from": None}), session)
    # In float64 what differs is an error and not rounding; views are the same bytes.
    model = training.module.double()
    synchronise_batch_norm(model, group)
    model.encoder.register_forward_pre_hook(lambda encoder, images: (images[0].double(),))
    batches = load_share(config, session, training, range(1))
    views_VnHWC, label_n = next(batches)
    if rows is not None:
        views_VnHWC = views_VnHWC[:, rows]
    figures = contrastive_gradient(config, model, session)((views_VnHWC, label_n))
    sum_gradients(model.parameters(), group)
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    summed = {name: group.sum(figures[name]) for name in ("loss", "accuracy", "entropy")}
    return {**summed, **gradients, **dict(model.named_buffers())}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "tiny.zarr"
    return write_tiny_store(path, n_patients=3, images_of=patches)


@pytest.mark.parametrize(
    ("micro_batch", "statistics", "rows"),
    [
        (None, "micro", None),
        (4, "frozen", None),
        # The k-th micro-batches of both processes make one micro-batch; the rest of the loss does
        # not know the order of the tiles.
        (4, "micro", [0, 1, 4, 5, 2, 3, 6, 7]),
    ],
)
def test_a_pretraining_step_of_two_processes_is_that_of_one(
    processes, store, tmp_path, micro_batch, statistics, rows
):
    config = PretrainConfig(
        store=store,
        out=tmp_path / "run",
        workers=0,
        batch_size=8,
        view_px=32,
        policy="simclr",
        test_fraction=0,
        micro_batch=micro_batch,
        micro_batch_norm=statistics,
        # Demanded with frozen statistics, which are those of drawn weights here.
        start_from=tmp_path / "not-read" if statistics == "frozen" else None,
    )
    alone = _first_step(SINGLE, config, rows)
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


class _Left(NamedTuple):
    """What a training leaves."""

    figures: list[dict]
    weights: dict[str, torch.Tensor]
    momentum: dict[str, torch.Tensor]


class _Whole:
    """Trainings by the command line, each command from the run of the one before."""

    def __init__(self, starts, store: Path, folder: Path) -> None:
        self._starts, self._store, self._folder = starts, store, folder
        self._left: dict[tuple[str, int], _Left] = {}

    def left(self, command: str, *, n_ranks: int) -> _Left:
        if (command, n_ranks) not in self._left:
            self._left[command, n_ranks] = self._run(command, n_ranks=n_ranks)
        return self._left[command, n_ranks]

    def _run(self, command: str, *, n_ranks: int) -> _Left:
        words = ["--device", "cpu", "--batch-size", 8, "--epochs", 1, "--workers", 0]
        # Float32 rounds otherwise in two processes, and what is rounded diverges at a usual rate.
        # Crops within one patch have one colour, and what batch norm makes of that is rounding.
        crops = "policy_options.crop_area_min=0.5"
        for setting in ("precision=fp32", "threads=1", "base_lr=1e-5", crops):
            words += ["--set", setting]
        if command == "pretrain":
            words += [self._store, "--view-px", 32, "--policy", "simclr", "--test-fraction", 0]
        else:
            before = {"finetune": "pretrain", "distill": "finetune"}[command]
            self.left(before, n_ranks=1)
            words += [self._folder / f"{before}_1", "--store", self._store]
        if command == "finetune":
            words += ["--labels", 24]
        out = self._folder / f"{command}_{n_ranks}"
        ended = self._starts.run(command, *words, "--out", out, n_ranks=n_ranks)
        assert ended.codes == [0] * n_ranks, ended.outputs
        folder = require_checkpoint(out).folder
        return _Left(read_metrics(out), load_file(folder / WEIGHTS), load_file(folder / STATE))


@pytest.fixture(scope="module")
def whole(starts, store, tmp_path_factory):
    return _Whole(starts, store, tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("command", ["pretrain", "finetune", "distill"])
def test_a_whole_training_of_two_processes_is_that_of_one(whole, command):
    alone, together = (whole.left(command, n_ranks=n_ranks) for n_ranks in (1, 2))
    assert len(alone.figures) == len(together.figures) >= 4
    for of_one, of_two in zip(alone.figures, together.figures, strict=True):
        assert of_two.pop("warnings", []) == of_one.pop("warnings", [])
        # A mean over the processes of each one's own rows, see `health.batch_figures`.
        of_one.pop("uniformity", None), of_two.pop("uniformity", None)
        assert of_two == pytest.approx(of_one, rel=1e-3)
    for ours, theirs in ((together.weights, alone.weights), (together.momentum, alone.momentum)):
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            # Measured: at most 0.02, of gradients that nearly vanish. Half a batch is off by more
            # than 0.3.
            error = (ours[name].double() - tensor.double()).norm()
            assert error <= 0.1 * tensor.double().norm(), name
