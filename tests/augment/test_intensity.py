import albumentations as A
import numpy as np
import pytest

from medsimclr.augment.intensity import IntensityJitter, SensorNoise, add_noise, change_intensity
from medsimclr.augment.policy import apply_seeded
from tests.references.sensor import change_intensity_loops, noise_sigma

_ONE, _ZERO = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)


def _noise_tile(height=24, width=25):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("gain", "gamma", "offset"),
    [
        ((0.5, 1.7, 1.0), _ONE, _ZERO),
        (_ONE, (0.5, 2.0, 1.0), _ZERO),
        (_ONE, _ONE, (0.2, -0.2, 0.05)),
        ((0.7, 3.0, 1.2), (1.3, 0.6, 0.9), (-1.0, 1.0, 0.1)),
    ],
)
def test_levels_equal_the_formula_within_rounding(gain, gamma, offset):
    tile_HW3 = _noise_tile()

    changed_HW3 = change_intensity(tile_HW3, gain_RGB=gain, gamma_RGB=gamma, offset_RGB=offset)

    expected_HW3 = change_intensity_loops(tile_HW3, gain, gamma, offset)
    assert np.abs(changed_HW3 - expected_HW3).max() <= 0.5 + 1e-9


def test_no_change_and_no_noise_return_the_tile_bit_for_bit():
    tile_HW3 = _noise_tile()
    normal_HW3 = np.random.default_rng(1).standard_normal(tile_HW3.shape, dtype=np.float32)

    for same_HW3 in (
        change_intensity(tile_HW3, gain_RGB=_ONE, gamma_RGB=_ONE, offset_RGB=_ZERO),
        add_noise(tile_HW3, normal_HW3, shot=0.0, read=0.0),
    ):
        np.testing.assert_array_equal(same_HW3, tile_HW3)


@pytest.mark.parametrize("level", [0, 4, 16, 100, 200])
def test_noise_has_the_standard_deviation_of_its_level(level):
    tile_HW3 = np.full((100, 100, 3), level, np.uint8)
    normal_HW3 = np.random.default_rng(1).standard_normal(tile_HW3.shape, dtype=np.float32)

    noisy_HW3 = add_noise(tile_HW3, normal_HW3, shot=0.05, read=0.02)

    expected = noise_sigma(level, 0.05, 0.02)
    # Rounding to whole levels adds a variance of 1/12; clipping at 0 takes some from the darkest.
    assert noisy_HW3.std() == pytest.approx(np.sqrt(expected**2 + (level > 0) / 12), rel=0.03)
    mean = level + expected * float(normal_HW3.mean())
    assert noisy_HW3.mean() == pytest.approx(mean, abs=0.1)


@pytest.mark.parametrize("shift", [1e6, -1e6])
def test_values_beyond_the_range_saturate(shift):
    tile_HW3 = np.full((4, 4, 3), 128, np.uint8)
    normal_HW1 = np.full((4, 4, 1), shift, np.float32)

    assert set(add_noise(tile_HW3, normal_HW1, shot=0.1, read=0.1).flat) == {255 * (shift > 0)}


def test_draws_fill_their_ranges_and_are_independent_by_channel():
    jitter = IntensityJitter(gain=0.5, gamma=0.3, offset=0.1)
    drawn = [jitter.get_params() for _ in range(2000)]

    for name, low, high in (
        ("gain_RGB", np.exp(-0.5), np.exp(0.5)),
        ("gamma_RGB", np.exp(-0.3), np.exp(0.3)),
        ("offset_RGB", -0.1, 0.1),
    ):
        values = np.array([params[name] for params in drawn])
        np.testing.assert_allclose(values.min(0), low, atol=0.01)
        np.testing.assert_allclose(values.max(0), high, atol=0.01)
        correlation = np.corrcoef(values.T)
        assert np.abs(correlation - np.eye(3)).max() < 0.1


def test_shared_draws_keep_grey_grey():
    grey_HW3 = _noise_tile()[..., :1].repeat(3, axis=2)
    compose = A.Compose(
        [
            IntensityJitter(gain=0.5, gamma=0.5, offset=0.1, is_shared=True, p=1.0),
            SensorNoise(shot=0.1, read=0.1, is_shared=True, p=1.0),
        ]
    )

    view_HW3 = apply_seeded(compose, grey_HW3, seed=(0, 0))

    assert np.all(view_HW3 == view_HW3[..., :1])
    assert not np.array_equal(view_HW3, grey_HW3)
