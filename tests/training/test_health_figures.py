"""Figures of a batch, the sample that health measures on, and how often."""

import numpy as np
import pytest
import torch

from medsimclr.data.tile_index import TileIndex, index_tiles
from medsimclr.distributed.group import Group
from medsimclr.evaluation.representation import alignment, uniformity
from medsimclr.losses.nt_xent import nt_xent
from medsimclr.store.reader import TileStore
from medsimclr.training.health import batch_figures, chance_levels, health_sample, report_interval
from tests.tiny_store import write_tiny_store
from tests.training.small_run import make_plan


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_tiny_store(tmp_path_factory.mktemp("store") / "tiny.zarr")


@pytest.fixture(scope="module")
def tiles(store):
    return index_tiles(TileStore(store))


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


def test_chance_is_that_of_a_network_to_which_all_tiles_look_alike():
    z_BD = torch.ones(16, 8)
    loss, accuracy, entropy = nt_xent(z_BD, z_BD, temperature=0.07)
    said = f"loss {loss:.4g}, accuracy {accuracy:.2g}, entropy {entropy:.3g}"
    assert chance_levels(16) == f"at chance: {said}"
