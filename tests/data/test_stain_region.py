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

    density_M = stain_region(tile_N2, n_tiles=12).density(point_M2)

    for point_2, density in zip(point_M2, density_M, strict=True):
        terms = [
            np.exp(-0.5 * (point_2 - tile_2) @ np.linalg.inv(scott_22) @ (point_2 - tile_2))
            for tile_2 in tile_N2
        ]
        assert density == pytest.approx(np.mean(terms), rel=1e-9)


@given(n_tiles=st.integers(1, 300), seed=st.integers(0, 50))
def test_at_least_95_percent_of_the_tiles_lie_within(n_tiles, seed):
    tile_N2 = _tiles(n_tiles, seed)
    within = stain_region(tile_N2, n_tiles=n_tiles).holds(tile_N2).mean()
    assert 0.95 <= within <= max(1.0, 0.96 + 1.0 / n_tiles)


def test_of_many_tiles_of_one_normal_distribution_it_is_the_ellipse():
    tile_N2 = _tiles(4000)
    region = stain_region(tile_N2, n_tiles=4000)
    mean_2, covariance_22 = tile_N2.mean(axis=0), np.cov(tile_N2.T)
    edge_2 = np.linalg.cholesky(covariance_22) @ np.array([0.6, 0.8]) * np.sqrt(5.991)
    within, beyond = mean_2 + 0.9 * edge_2, mean_2 + 1.15 * edge_2
    assert region.holds(np.stack([within, beyond])).tolist() == [True, False]


def test_two_heaps_have_a_gap_between_them():
    tile_N2 = np.concatenate([_tiles(200) * 0.1, _tiles(200) * 0.1 + 1.0])
    region = stain_region(tile_N2, n_tiles=400)
    assert region.holds(np.array([tile_N2[0], tile_N2.mean(axis=0)])).tolist() == [True, False]


def test_views_that_are_the_tiles_have_the_region_of_the_tiles():
    tile_N2, point_M2 = _tiles(40), _tiles(500, seed=2)
    once = stain_region(tile_N2, n_tiles=40).holds(point_M2)
    eightfold = stain_region(tile_N2.repeat(8, axis=0), n_tiles=40).holds(point_M2)
    np.testing.assert_array_equal(once, eightfold)
    assert 0 < once.sum() < 500
