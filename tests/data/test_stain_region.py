import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsimclr.data.stain_region import stain_region


def _tiles(n_tiles, seed=0):
    return np.random.default_rng(seed).multivariate_normal(
        [0.4, 0.2], [[0.02, 0.005], [0.005, 0.01]], n_tiles
    )


def test_the_density_equals_the_sum_of_gaussians_written_out():
    tile_N2 = _tiles(12)
    centred_N2 = tile_N2 - tile_N2.mean(axis=0)
    scott_22 = centred_N2.T @ centred_N2 / 12 * 12 ** (-1 / 3) + 0.01**2 * np.eye(2)
    point_M2 = _tiles(5, seed=1)

    density_M = stain_region(tile_N2).density(point_M2)

    for point_2, density in zip(point_M2, density_M, strict=True):
        terms = [
            np.exp(-0.5 * (point_2 - tile_2) @ np.linalg.inv(scott_22) @ (point_2 - tile_2))
            for tile_2 in tile_N2
        ]
        assert density == pytest.approx(np.mean(terms), rel=1e-9)


@given(n_tiles=st.integers(1, 300), seed=st.integers(0, 50))
def test_at_least_95_percent_of_the_tiles_lie_within(n_tiles, seed):
    tile_N2 = _tiles(n_tiles, seed)
    within = stain_region(tile_N2).holds(tile_N2).mean()
    assert within >= 0.95


@pytest.mark.parametrize("n_views", [1, 8])
def test_95_percent_of_further_tiles_or_views_lie_within(n_views):
    """The mean over draws of 40 tiles: a tile's own Gaussian would make it 0.87."""

    def views(n_tiles, seed):
        """Shift each of some tiles by draws of a policy."""
        shift_2 = np.random.default_rng(seed + 1).normal(0.0, 0.05, (n_tiles * n_views, 2))
        return _tiles(n_tiles, seed).repeat(n_views, axis=0) + (n_views > 1) * shift_2

    within = [
        stain_region(views(40, seed), tile_N=np.arange(40).repeat(n_views))
        .holds(views(200, seed + 1000))
        .mean()
        for seed in range(0, 120, 2)
    ]
    assert np.mean(within) == pytest.approx(0.95, abs=0.012)


def test_of_many_tiles_of_one_normal_distribution_it_is_the_ellipse():
    tile_N2 = _tiles(4000)
    region = stain_region(tile_N2)
    mean_2, covariance_22 = tile_N2.mean(axis=0), np.cov(tile_N2.T)
    edge_2 = np.linalg.cholesky(covariance_22) @ np.array([0.6, 0.8]) * np.sqrt(5.991)
    within, beyond = mean_2 + 0.9 * edge_2, mean_2 + 1.15 * edge_2
    assert region.holds(np.stack([within, beyond])).tolist() == [True, False]


def test_two_heaps_have_a_gap_between_them():
    tile_N2 = np.concatenate([_tiles(200) * 0.1, _tiles(200) * 0.1 + 1.0])
    region = stain_region(tile_N2)
    assert region.holds(np.array([tile_N2[0], tile_N2.mean(axis=0)])).tolist() == [True, False]


@pytest.mark.parametrize("n_tiles", [1, 25, 40])
def test_views_that_are_the_tiles_have_the_region_of_the_tiles(n_tiles):
    tile_N2, point_M2 = _tiles(n_tiles), _tiles(500, seed=2)
    once = stain_region(tile_N2).holds(point_M2)
    eightfold = stain_region(tile_N2.repeat(8, axis=0), tile_N=np.arange(n_tiles).repeat(8)).holds(
        point_M2
    )
    np.testing.assert_array_equal(once, eightfold)
    assert once.sum() < 500
