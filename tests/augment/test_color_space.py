import numpy as np
import pytest

from medsimclr.augment.color_space import change_channels, from_space, tissue_mask, to_space
from tests.references import color_space as reference

SPACES = ("lab", "hed", "hsv")


def _noise(height=12, width=12, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("space", SPACES)
def test_channels_equal_the_published_formulas(space):
    tile_HW3 = _noise()

    channels_N3 = to_space(tile_HW3, space).reshape(-1, 3)

    expected_N3 = [getattr(reference, space)(rgb) for rgb in tile_HW3.reshape(-1, 3)]
    tolerance = {"lab": 1e-2, "hed": 1e-4, "hsv": 1e-2}[space]
    np.testing.assert_allclose(channels_N3, expected_N3, atol=tolerance)


@pytest.mark.parametrize("space", SPACES)
def test_there_and_back_is_the_same_tile(space):
    tile_HW3 = _noise(64, 64)

    back_HW3 = from_space(to_space(tile_HW3, space), space)

    assert np.abs(back_HW3.astype(int) - np.maximum(tile_HW3, 1)).max() <= 1


@pytest.mark.parametrize(
    ("space", "gain", "offset"),
    [
        ("lab", (1.1, 0.9, 1.1), (2.0, 3.0, -4.0)),
        ("lab", (0.9, 1.0, 1.0), (-5.0, 0.0, 0.0)),
        ("hed", (1.2, 0.8, 1.1), (0.05, -0.05, 0.1)),
        ("hed", (2.0, 0.5, 1.0), (-0.3, 0.2, -0.1)),
        ("hsv", (1.0, 1.2, 0.9), (15.0, -0.05, 0.1)),
        ("hsv", (0.9, 2.0, 1.5), (-30.0, 0.5, 0.5)),
    ],
)
def test_a_change_equals_float64_loops_within_one_grey_level(space, gain, offset):
    # Purple and pink with neighbours, since clipping in LAB follows another path outside sRGB.
    tile_HW3 = np.random.default_rng(1).integers((120, 60, 110), (240, 200, 230), (16, 16, 3))
    tile_HW3 = tile_HW3.astype(np.uint8)

    changed_HW3 = change_channels(tile_HW3, space=space, gain=gain, offset=offset)

    expected_HW3 = reference.change_channels_loops(tile_HW3, space, gain, offset)
    assert np.abs(changed_HW3 - expected_HW3).max() <= 1.01


@pytest.mark.parametrize("space", SPACES)
def test_no_change_returns_the_input_bit_for_bit_in_new_memory(space):
    tile_HW3 = _noise()

    changed_HW3 = change_channels(tile_HW3, space=space, gain=(1, 1, 1), offset=(0, 0, 0))

    np.testing.assert_array_equal(changed_HW3, tile_HW3)
    assert not np.shares_memory(changed_HW3, tile_HW3)


@pytest.mark.parametrize("space", SPACES)
def test_grey_glass_stays_and_tissue_moves(space):
    tile_HW3 = np.array([[[228, 226, 230], [160, 80, 150]]], dtype=np.uint8)

    changed_HW3 = change_channels(tile_HW3, space=space, gain=(1.3,) * 3, offset=(0.1,) * 3)

    moved_HW = np.abs(changed_HW3.astype(int) - tile_HW3).max(axis=2)
    assert moved_HW[0, 0] == 0
    assert moved_HW[0, 1] > 5


def test_tissue_is_what_is_denser_than_glass():
    tile_HW3 = np.array([[[255, 255, 255], [228, 226, 230], [200, 150, 190], [0, 0, 0]]], np.uint8)

    np.testing.assert_array_equal(tissue_mask(tile_HW3), [[0, 0, 255, 255]])
