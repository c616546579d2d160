"""Health: what is measured while a pretraining runs, what is said, and that it harms nothing."""

import numpy as np
import pytest
import torch
from torch import nn

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.data.tile_index import TileIndex, index_tiles
from medsimclr.distributed.group import Group
from medsimclr.evaluation.knn import knn_across_units
from medsimclr.evaluation.representation import alignment, rank_me, uniformity
from medsimclr.losses.nt_xent import nt_xent
from medsimclr.models.batch_norm import BatchNorm
from medsimclr.store.reader import TileStore
from medsimclr.training.checkpoint import require_checkpoint
from medsimclr.training.health import (
    Health,
    batch_figures,
    chance_levels,
    health_sample,
    report_interval,
)
from medsimclr.training.inference import encode
from medsimclr.training.plan import Plan
from medsimclr.training.pretrain import pretrain
from medsimclr.training.run_log import read_metrics, silent
from tests.tiny_store import write_tiny_store

VIEW_PX = 32
HEALTHY = {"accuracy": 0.3, "entropy": 1.5}
AT_CHANCE = {"accuracy": 1 / 16, "entropy": float(np.log(16))}


class SmallEncoder(nn.Module):
    """A convolution whose batch norm and dropout behave otherwise in training."""

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


def make_plan(total_steps=1000, warmup_steps=50, images_per_step=32):
    return Plan(
        total_steps=total_steps,
        warmup_steps=warmup_steps,
        peak_lr=0.1,
        images_per_step=images_per_step,
        checkpoint_minutes=10,
        log_seconds=5,
    )


def make_health(
    store, tiles, encoder, *, report_steps=10, temperature=0.1, progress=silent, **plan
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
        progress=progress,
    )


def run_steps(health, steps, figures):
    """Observe steps and return (step, sentence) of everything said."""
    said = []
    for step in steps:
        said += [(step, sentence) for sentence in health.observe(step, figures)[1]]
    return said


def test_figures_of_a_batch_are_of_its_first_512_rows():
    generator = torch.Generator().manual_seed(0)
    z_a_nD, z_b_nD = torch.randn(2, 600, 8, generator=generator)
    figures = batch_figures(z_a_nD, z_b_nD)
    assert figures["alignment"] == alignment(z_a_nD[:512], z_b_nD[:512])
    both = uniformity(z_a_nD[:512]), uniformity(z_b_nD[:512])
    assert figures["uniformity"].item() == pytest.approx(sum(both).item() / 2)


def test_shares_of_a_group_sum_to_the_mean():
    z_a_nD, z_b_nD = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(0))
    halves = [
        batch_figures(z_a_nD[rows], z_b_nD[rows], group=Group(rank, 2, torch.device("cpu")))
        for rank, rows in enumerate([slice(20), slice(20, 40)])
    ]
    alone = batch_figures(z_a_nD, z_b_nD)["alignment"]
    assert (halves[0]["alignment"] + halves[1]["alignment"]).item() == pytest.approx(alone.item())


def test_sample_is_spread_over_classes_and_patients_and_follows_the_seed(tiles):
    labels = np.where(tiles.label_N == 1, -1, 0)
    labels[tiles.patient_N == "P0"] = 1
    mixed = TileIndex(**{**vars(tiles), "label_N": labels})
    sample = health_sample(mixed, n_tiles=18, seed=0)
    assert np.unique(sample.label_N, return_counts=True)[1].tolist() == [6, 6, 6]
    assert len(np.unique(sample.patient_N[sample.label_N == 0])) == 5
    again, other = (health_sample(mixed, n_tiles=18, seed=seed) for seed in (0, 1))
    assert np.array_equal(sample.id_N, again.id_N)
    assert not np.array_equal(sample.id_N, other.id_N)
    assert len(health_sample(mixed, n_tiles=10_000, seed=0)) == len(tiles)


def test_reports_are_as_many_as_asked_or_as_few_as_are_cheap():
    long_run = make_plan(total_steps=100_000, images_per_step=512)
    assert report_interval(long_run, n_reports=20, n_tiles=512) == 5000
    # 38 steps of 256 images: one report of 512 tiles is worth 0.67 steps, 3 % of 22 steps.
    short_run = make_plan(total_steps=38, images_per_step=256)
    assert report_interval(short_run, n_reports=20, n_tiles=512) == 23
    assert report_interval(short_run, n_reports=20, n_tiles=0) == 2


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
    assert list(health.observe(10, HEALTHY)[0]) == ["effective_rank"]


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


def test_chance_is_that_of_a_network_to_which_all_tiles_look_alike():
    z_BD = torch.ones(16, 8)
    loss, accuracy, entropy = nt_xent(z_BD, z_BD, temperature=0.07)
    said = f"loss {loss:.4g}, accuracy {accuracy:.2g}, entropy {entropy:.3g}"
    assert chance_levels(16) == f"at chance: {said}"


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


def pretrain_shortly(store, out, **changes):
    """Pretrain on 54 tiles in 7 steps; return the run and what was said beside the figures."""
    lines = []
    settings = {
        "workers": 0,
        "device": "cpu",
        "precision": "fp32",
        "batch_size": 8,
        "epochs": 1,
        "view_px": 36,
        "policy": "simclr",
        **changes,
    }
    config = PretrainConfig(store=store, out=out, **settings)
    pretrain(config, progress=lambda done, total, line: total or lines.append(line))
    return config, lines


def test_watching_changes_no_bit_of_the_training(store, tmp_path):
    watched, lines = pretrain_shortly(store, tmp_path / "watched", health_reports=7)
    alone, _ = pretrain_shortly(store, tmp_path / "alone", health_tiles=0)
    digests = {require_checkpoint(config.out).weights_sha256 for config in (watched, alone)}
    assert len(digests) == 1
    assert lines == ["at chance: loss 5.416, accuracy 0.12, entropy 2.08"]
    before, *_, figures = read_metrics(watched.out)
    assert before.keys() == {"step", "effective_rank", "knn_balanced_accuracy"}
    assert [row["step"] for row in read_metrics(watched.out)] == list(range(8))
    assert [row["step"] for row in read_metrics(alone.out)] == list(range(1, 8))
    expected = {"accuracy", "entropy", "alignment", "uniformity", "gradient_norm"}
    assert expected | {"effective_rank", "knn_balanced_accuracy"} < figures.keys()
    assert 1 < figures["effective_rank"] < 512


def test_blank_tiles_are_a_collapse_in_a_real_run(tmp_path):
    blank = write_tiny_store(
        tmp_path / "blank.zarr",
        images_of=lambda n_tiles, tile_px, seed: np.full((n_tiles, tile_px, tile_px, 3), 230, "u1"),
    )
    options = {"jitter_p": 0.0, "grey_p": 0.0, "blur": False}
    _, lines = pretrain_shortly(blank, tmp_path / "run", policy_options=options)
    assert len(lines) == 2
    assert lines[1].startswith("collapse: all tiles get nearly the same features")


def test_a_rate_far_too_high_is_a_collapse_in_a_real_run(store, tmp_path):
    _, lines = pretrain_shortly(store, tmp_path / "run", optimizer="sgd", base_lr=30.0, epochs=3)
    assert any("effective rank 1." in line or "without bound" in line for line in lines), lines
