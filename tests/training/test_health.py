"""Health: what is measured while a pretraining runs, what is said, and that it harms nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medsimclr.data.tile_index import TileIndex, index_tiles
from medsimclr.evaluation.knn import knn_across_units
from medsimclr.evaluation.representation import rank_me
from medsimclr.models.batch_norm import BatchNorm
from medsimclr.store.reader import TileStore
from medsimclr.training.health import Health, health_sample
from medsimclr.training.inference import encode
from medsimclr.training.run_log import silent
from tests.tiny_store import write_tiny_store
from tests.training.small_run import make_plan

VIEW_PX = 32
HEALTHY = {"accuracy": 0.3, "entropy": 1.5}
AT_CHANCE = {"accuracy": 1 / 16, "entropy": float(np.log(16))}


class SmallEncoder(nn.Module):
    """A convolution whose batch norm and dropout behave otherwise in training."""

    feature_dim = 16

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 16, 3, stride=2)
        self.norm = BatchNorm(16)
        self.dropout = nn.Dropout(0.5)
        with torch.no_grad():
            for weight in self.parameters():
                weight.normal_(generator=torch.Generator().manual_seed(weight.numel()))

    def forward(self, image_BCHW):
        return self.dropout(self.norm(self.convolution(image_BCHW))).relu().mean(dim=(2, 3))


class ConstantEncoder(nn.Module):
    """Collapsed, every tile gets the same features; recovered, its own pixels."""

    feature_dim = 16

    def __init__(self, value=1.0):
        super().__init__()
        self.value = value
        self.is_collapsed = True

    def forward(self, image_BCHW):
        if not self.is_collapsed:
            return image_BCHW[:, 0, 5, :16] - 0.7
        return torch.full((len(image_BCHW), 16), self.value)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_tiny_store(tmp_path_factory.mktemp("store") / "tiny.zarr")


@pytest.fixture(scope="module")
def tiles(store):
    return index_tiles(TileStore(store))


def make_health(
    store,
    tiles,
    encoder,
    *,
    report_steps=10,
    temperature=0.1,
    run=Path("no run"),
    progress=silent,
    **plan,
):
    return Health(
        encoder,
        store=store,
        sample=tiles,
        view_px=VIEW_PX,
        device=torch.device("cpu"),
        batch_size=16,
        temperature=temperature,
        plan=make_plan(**plan),
        report_steps=report_steps,
        run=run,
        progress=progress,
    )


def run_steps(health, steps, figures):
    """Observe steps and return (step, sentence) of everything said."""
    said = []
    for step in steps:
        said += [(step, sentence) for sentence in health.observe(step, figures)[1]]
    return said


def test_reports_equal_what_encode_gives_and_come_when_due(store, tiles):
    encoder = SmallEncoder().train()
    health = make_health(store, tiles, encoder, report_steps=10, total_steps=25)
    due = {step: health.observe(step, HEALTHY)[0] for step in range(1, 26)}
    assert [step for step, figures in due.items() if figures] == [10, 20, 25]
    features_SD = encode(encoder, store, tiles, view_px=VIEW_PX, device=torch.device("cpu"))
    rank = rank_me(torch.from_numpy(features_SD))
    accuracy = knn_across_units(features_SD, tiles.label_N, tiles.unit_N)
    assert 1.05 < rank < 16
    assert due[25]["effective_rank"] == pytest.approx(rank, rel=1e-5)
    assert due[25]["knn_balanced_accuracy"] == pytest.approx(accuracy)


def test_neighbours_are_left_out_without_labels(store, tiles):
    unlabelled = TileIndex(**{**vars(tiles), "label_N": np.full(len(tiles), -1)})
    health = make_health(store, unlabelled, SmallEncoder())
    assert list(health.observe(10, HEALTHY)[0]) == ["effective_rank", "largest_feature"]


def test_an_empty_sample_measures_nothing(store, tiles):
    health = make_health(store, health_sample(tiles, n_tiles=0, seed=0), ConstantEncoder())
    assert health.observe(10, HEALTHY) == ({}, [])


def test_measuring_leaves_no_trace(store, tiles):
    encoder = SmallEncoder().train()
    encoder.norm.eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    random_states = torch.get_rng_state(), np.random.get_state()[1].copy()
    make_health(store, tiles, encoder).observe(10, HEALTHY)
    assert [part.training for part in encoder.modules()] == [True, True, False, True]
    after = encoder.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert torch.equal(torch.get_rng_state(), random_states[0])
    assert np.array_equal(np.random.get_state()[1], random_states[1])
    # What training needs of the weights still works: none became a tensor of inference.
    encoder(torch.rand(2, 3, 32, 32)).sum().backward()


def test_the_mode_comes_back_after_an_error(store, tiles):
    class FailingEncoder(SmallEncoder):
        def forward(self, image_BCHW):
            raise RuntimeError("out of memory")

    encoder = FailingEncoder().train()
    with pytest.raises(RuntimeError, match="out of memory"):
        make_health(store, tiles, encoder).observe(10, HEALTHY)
    assert encoder.training


def test_a_collapse_is_said_once_until_it_ends(store, tiles):
    encoder = ConstantEncoder()
    health = make_health(store, tiles, encoder, report_steps=10)
    [(step, sentence)] = run_steps(health, range(1, 51), HEALTHY)
    assert step == 10
    assert sentence.startswith("collapse: all tiles get nearly the same features")
    encoder.is_collapsed = False
    assert health.observe(60, HEALTHY)[0]["effective_rank"] > 4
    encoder.is_collapsed = True
    assert [step for step, _ in run_steps(health, range(61, 91), HEALTHY)] == [70]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e20])
def test_features_without_bound_are_said(store, tiles, value):
    [(_, sentence)] = run_steps(
        make_health(store, tiles, ConstantEncoder(value)), range(1, 11), HEALTHY
    )
    assert "the features grow without bound" in sentence


def test_a_task_at_chance_is_said_once_after_warm_up_until_it_ends(store, tiles):
    no_tiles = health_sample(tiles, n_tiles=0, seed=0)
    health = make_health(store, no_tiles, SmallEncoder())
    # Warm-up of 50 steps, then a tenth of 1,000: the first 20 steps that end after 150.
    [(step, sentence)] = run_steps(health, range(1, 401), AT_CHANCE)
    assert step == 160
    assert "the contrastive task is still at chance" in sentence
    assert run_steps(health, range(401, 441), HEALTHY) == []
    assert [step for step, _ in run_steps(health, range(441, 501), AT_CHANCE)] == [460]


def test_only_the_first_steps_can_be_trivial(store, tiles):
    no_tiles = health_sample(tiles, n_tiles=0, seed=0)
    solved = {"accuracy": 1.0, "entropy": 0.05}
    new = make_health(store, no_tiles, SmallEncoder())
    [(step, sentence)] = run_steps(new, range(1, 101), solved)
    assert step == 20
    assert "choose a stronger policy" in sentence
    resumed = make_health(store, no_tiles, SmallEncoder())
    assert run_steps(resumed, range(201, 301), solved) == []


def test_before_the_first_step_is_measured_and_chance_said_but_nothing_judged(store, tiles):
    lines = []
    health = make_health(
        store, tiles, ConstantEncoder(), progress=lambda done, total, line: lines.append(line)
    )
    figures, sentences = health.observe(0, {})
    assert figures["effective_rank"] == pytest.approx(1, abs=0.01)
    assert "knn_balanced_accuracy" in figures
    assert sentences == []
    assert lines == ["at chance: loss 6.868, accuracy 0.062, entropy 2.77"]


def test_the_last_step_repeats_what_has_not_ended(store, tiles):
    encoder = ConstantEncoder()
    health = make_health(store, tiles, encoder, temperature=1e-6, total_steps=200)
    [absurd] = health.observe(0, {})[1]
    assert absurd.startswith("the temperature 1e-06")
    collapse, chance = run_steps(health, range(1, 200), AT_CHANCE)
    assert collapse[1].startswith("collapse")
    assert chance[1].startswith("nothing is learned")
    encoder.is_collapsed = False
    assert [sentence for _, sentence in run_steps(health, [200], AT_CHANCE)] == [absurd, chance[1]]


def test_a_run_shorter_than_a_window_is_judged_at_its_end(store, tiles):
    no_tiles = health_sample(tiles, n_tiles=0, seed=0)
    health = make_health(store, no_tiles, SmallEncoder(), total_steps=4)
    [(step, sentence)] = run_steps(health, range(1, 5), {"accuracy": 0.2, "entropy": 0.01})
    assert step == 4
    assert "the temperature is too low" in sentence


def observe_and_log(health, run, steps):
    """Solve the task at first, then fail in it; the features recover for a while."""
    solved = {"accuracy": 1.0, "entropy": 0.05}
    run.mkdir(exist_ok=True)
    with (run / "metrics.jsonl").open("a") as log:
        for step in steps:
            health._encoder.is_collapsed = not 100 <= step < 130
            figures = solved if step <= 20 else AT_CHANCE
            measured, warnings = health.observe(step, figures)
            row = {name: None if value == np.inf else value for name, value in measured.items()}
            log.write(json.dumps({"step": step, **figures, **row, "warnings": warnings}) + "\n")


@pytest.mark.parametrize("value", [1.0, float("inf")])
def test_a_run_that_goes_on_says_and_ends_with_what_an_uninterrupted_one_does(
    store, tiles, tmp_path, value
):
    def make(run, **settings):
        return make_health(
            store, tiles, ConstantEncoder(value), run=run, total_steps=200, **settings
        )

    observe_and_log(make(tmp_path / "whole"), tmp_path / "whole", range(1, 201))
    expected = (tmp_path / "whole" / "metrics.jsonl").read_text()
    for stop in (1, 15, 20, 33, 110, 165, 199):
        run, lines = tmp_path / f"stopped after {stop}", []
        observe_and_log(make(run), run, range(1, stop + 1))
        again = make(run, progress=lambda done, total, line: lines.append(line))  # noqa: B023
        observe_and_log(again, run, range(stop + 1, 201))
        assert (run / "metrics.jsonl").read_text() == expected
        assert len(lines) == {1: 0, 15: 1, 165: 3, 199: 3}.get(stop, 2)


def test_a_log_of_an_earlier_version_is_recalled_without_its_features(store, tiles, tmp_path):
    row = {"step": 10, **HEALTHY, "effective_rank": 1.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    health = make_health(store, tiles, ConstantEncoder(), run=tmp_path)
    assert [step for step, _ in run_steps(health, range(11, 31), HEALTHY)] == [20]
