import itertools

import numpy as np
import pytest

from medsimclr.augment.color import OPERATIONS, jitter_color
from tests.references.color_jitter import jitter_color_loops


def _random_tile(height=24, width=25, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _worst(tile_HW3, **settings):
    jittered_HW3 = jitter_color(tile_HW3, **settings)
    assert jittered_HW3.dtype == np.uint8
    return np.abs(jittered_HW3 - jitter_color_loops(tile_HW3, **settings)).max()


_NEUTRAL = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue_turns": 0.0}


@pytest.mark.parametrize(
    ("name", "field", "values"),
    [
        ("brightness", "brightness", (0.0, 0.2, 0.7, 1.8)),
        ("contrast", "contrast", (0.0, 0.2, 0.7, 1.8)),
        ("saturation", "saturation", (0.0, 0.2, 0.7, 1.8)),
        ("hue", "hue_turns", (-0.5, -0.2, -0.05, 0.1, 0.2, 0.5)),
    ],
)
def test_each_operation_equals_float64_loops_within_one_grey_level(name, field, values):
    worst = [_worst(_random_tile(), **{**_NEUTRAL, field: value}, order=[name]) for value in values]

    assert max(worst) <= 1.0, dict(zip(values, worst, strict=True))


@pytest.mark.parametrize("order", list(itertools.permutations(OPERATIONS)))
def test_every_order_equals_float64_loops_within_one_grey_level(order):
    settings = {"brightness": 1.3, "contrast": 0.7, "saturation": 1.4, "hue_turns": -0.15}

    assert _worst(_random_tile(), **settings, order=order) <= 1.0


@pytest.mark.parametrize("level", [0, 1, 128, 255])
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 5), (5, 1)])
def test_a_grey_tile_of_any_size_keeps_its_colour_under_hue_and_saturation(level, size_hw):
    tile_HW3 = np.full((*size_hw, 3), level, dtype=np.uint8)

    jittered_HW3 = jitter_color(tile_HW3, saturation=1.8, hue_turns=0.2)

    np.testing.assert_array_equal(jittered_HW3, tile_HW3)


def test_contrast_zero_keeps_the_mean_colour_instead_of_grey():
    tile_HW3 = np.array([[[200, 100, 150], [220, 80, 170]]], dtype=np.uint8)

    jittered_HW3 = jitter_color(tile_HW3, contrast=0.0)

    np.testing.assert_array_equal(jittered_HW3, np.full((1, 2, 3), (210, 90, 160)))


def test_the_input_is_not_written_to():
    tile_HW3 = _random_tile()
    before_HW3 = tile_HW3.copy()

    jitter_color(tile_HW3, brightness=0.5, contrast=0.5, saturation=0.5, hue_turns=0.1)

    np.testing.assert_array_equal(tile_HW3, before_HW3)
