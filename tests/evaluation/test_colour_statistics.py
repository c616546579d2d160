import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from medsimclr.evaluation.colour_statistics import N_COLOUR_FEATURES, colour_features
from tests.references.colour_statistics import colour_features_loops

SMALL_TILES = hnp.arrays(
    np.uint8, st.tuples(st.just(1), st.integers(1, 7), st.integers(1, 7), st.just(3))
)


@given(tiles=SMALL_TILES)
@settings(max_examples=100, deadline=None)
def test_features_equal_the_loop_reference(tiles):
    assert colour_features(tiles)[0] == pytest.approx(colour_features_loops(tiles[0]), abs=1e-9)


def test_shuffling_pixels_changes_nothing():
    generator = np.random.default_rng(0)
    tiles = generator.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    shuffled = generator.permutation(tiles.reshape(3, 256, 3), axis=1).reshape(tiles.shape)
    assert np.array_equal(colour_features(tiles), colour_features(shuffled))


def test_each_tile_is_described_by_itself():
    tiles = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    alone = np.concatenate([colour_features(tile[None]) for tile in tiles])
    assert np.array_equal(colour_features(tiles), alone)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_blank_tile_has_finite_features(value):
    features = colour_features(np.full((1, 8, 8, 3), value, np.uint8))
    assert features.shape == (1, N_COLOUR_FEATURES)
    assert np.isfinite(features).all()


def test_no_tiles_give_no_rows():
    assert colour_features(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0, N_COLOUR_FEATURES)
