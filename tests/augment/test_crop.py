import random

import albumentations as A
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsimclr.augment.crop import Crop, draw_crop
from medsimclr.augment.policy import apply_seeded
from tests.references.distorted_bounding_box import sample_crop


def _noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_crops_have_the_distribution_of_the_reference():
    rng = random.Random(0)
    ours = np.array([draw_crop(96, 96, area_min=0.1, rng=rng)[2:] for _ in range(8000)])
    theirs = np.array([sample_crop(96, rng) for _ in range(8000)])

    quantiles = np.linspace(0.05, 0.95, 19)
    for measure in (np.prod(ours, 1) / 9216, ours[:, 1] / ours[:, 0]):
        other = np.prod(theirs, 1) / 9216 if measure.mean() < 0.8 else theirs[:, 1] / theirs[:, 0]
        # Three standard errors of a quantile of 8,000 draws, and a pixel of rounding.
        np.testing.assert_allclose(
            np.quantile(measure, quantiles), np.quantile(other, quantiles), atol=0.025
        )


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    area_min=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_any_crop_lies_in_the_tile_and_is_large_enough(height, width, area_min, seed):
    rng = random.Random(seed)

    top, left, crop_height, crop_width = draw_crop(height, width, area_min=area_min, rng=rng)

    assert 0 <= top <= top + crop_height <= height
    assert 0 <= left <= left + crop_width <= width
    assert crop_height * crop_width >= max(1, area_min * height * width * 0.999)


def test_every_place_is_reached():
    rng = random.Random(0)
    boxes = [draw_crop(8, 8, area_min=0.1, rng=rng) for _ in range(2000)]

    assert {top for top, *_ in boxes} == {left for _, left, *_ in boxes} == set(range(6))
    assert {top + height for top, _, height, _ in boxes} == set(range(3, 9))


@pytest.mark.parametrize("size_hw", [(40, 40), (48, 47), (20, 90), (1, 1)])
def test_the_whole_tile_is_resized_at_an_area_of_one(size_hw):
    tile_HW3 = _noise(*size_hw)
    compose = A.Compose([Crop(view_px=40, area_min=1.0)])

    view_HW3 = apply_seeded(compose, tile_HW3, seed=(0,))

    expected_HW3 = cv2.resize(tile_HW3, (40, 40), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(view_HW3, tile_HW3 if size_hw == (40, 40) else expected_HW3)


def test_a_view_shows_the_part_that_was_drawn():
    tile_HW3 = _noise(64, 64)
    crop = Crop(view_px=32, area_min=0.1)

    view_HW3 = crop.apply(tile_HW3, box=(5, 9, 40, 30))

    expected_HW3 = cv2.resize(tile_HW3[5:45, 9:39], (32, 32), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(view_HW3, expected_HW3)
