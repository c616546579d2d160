from collections import Counter

import numpy as np
import pytest

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.policy import apply_seeded
from medsimclr.errors import PolicyError


def test_all_eight_symmetries_of_the_square_are_drawn():
    corner_HW3 = np.zeros((16, 16, 3), dtype=np.uint8)
    corner_HW3[:4, :8] = 255
    compose = load_policy("stain_jitter").supervised(16)
    eight = {
        np.rot90(side_HW3, turns).tobytes()
        for side_HW3 in (corner_HW3, corner_HW3[:, ::-1])
        for turns in range(4)
    }

    symmetry = compose[1]
    drawn = [symmetry(image=corner_HW3)["image"].tobytes() for _ in range(400)]

    assert set(drawn) == eight
    assert min(Counter(drawn).values()) > 25


def test_zero_strengths_leave_colour_alone():
    tile_HW3 = np.full((32, 32, 3), (170, 60, 140), dtype=np.uint8)
    options = {"gain_sigma": 0.0, "offset_sigma": 0.0, "stain_p": 1.0}
    compose = load_policy("stain_jitter", options=options).contrastive(32)

    view_HW3 = apply_seeded(compose, tile_HW3, seed=(0, 0, 0, 0))

    np.testing.assert_array_equal(view_HW3, tile_HW3)


def test_white_glass_stays_white_in_every_view():
    white_HW3 = np.full((32, 32, 3), 255, dtype=np.uint8)
    options = {"gain_sigma": 1.0, "offset_sigma": 1.0, "stain_p": 1.0}
    compose = load_policy("stain_jitter", options=options).contrastive(32)

    for view in range(20):
        view_HW3 = apply_seeded(compose, white_HW3, seed=(0, 0, 0, view))
        np.testing.assert_array_equal(view_HW3, white_HW3)


def test_gains_and_offsets_of_the_three_stains_are_drawn_independently_in_range():
    jitter = load_policy(
        "stain_jitter", options={"gain_sigma": 0.2, "offset_sigma": 0.1}
    ).contrastive(32)[2]
    drawn = [jitter.get_params() for _ in range(500)]

    values = np.array([[*params["gain_HED"], *params["offset_HED"]] for params in drawn])

    assert np.all(np.abs(values[:, :3] - 1.0) <= 0.2)
    assert np.all(np.abs(values[:, 3:]) <= 0.1)
    assert np.all(values.std(axis=0) > np.array([0.1] * 3 + [0.05] * 3))
    assert np.abs(np.corrcoef(values.T) - np.eye(6)).max() < 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gain_sigma": 1.5}, "gain_sigma must be between 0 and 1, got 1.5"),
        ({"offset_sigma": -0.1}, "offset_sigma must be between 0 and 1, got -0.1"),
        ({"crop_area_min": 2}, "crop_area_min must be above 0 and at most 1, got 2"),
    ],
)
def test_a_field_out_of_range_is_refused_by_name(options, message):
    with pytest.raises(PolicyError, match=message):
        load_policy("stain_jitter", options=options)
