import numpy as np
import pytest

from medsimclr.augment.macenko import PUBLISHED_HE, SlideStain
from medsimclr.augment.stain_amount import stain_quantiles
from medsimclr.augment.stain_distance import (
    StainGap,
    gap_strengths,
    n_spanned,
    stain_gaps,
    vector_angles,
)
from tests.references.stain_gap import gap
from tests.tissue_images import shifted_images


def _stain(haematoxylin, eosin):
    covariance = ((0.1, 0.0, 0.0), (0.0, 0.1, 0.0), (0.0, 0.0, 0.1))
    return SlideStain(
        haematoxylin=tuple(haematoxylin),
        eosin=tuple(eosin),
        maxima=(1.0, 1.0),
        od_mean=(0.3, 0.4, 0.2),
        od_covariance=covariance,
    )


def test_gaps_equal_the_straight_lines_through_the_quantiles():
    rng = np.random.default_rng(0)
    quantiles_GQ3 = np.sort(rng.gamma(2.0, 0.2, (4, 19, 3)), axis=1)
    typical_Q3 = quantiles_GQ3.mean(axis=0)

    gaps = stain_gaps(list(quantiles_GQ3))

    for group_Q3, found in zip(quantiles_GQ3, gaps, strict=True):
        for stain in (0, 1):
            expected = gap(typical_Q3[:, stain], group_Q3[:, stain])
            assert 0.5 < expected[0] < 2.0
            np.testing.assert_allclose((found.gain[stain], found.offset[stain]), expected)
        cast = group_Q3[:, 2].mean() - typical_Q3[:, 2].mean()
        np.testing.assert_allclose((found.gain[2], found.offset[2]), (1.0, cast))


def test_a_planted_shift_of_stain_is_found_in_the_pixels():
    plain_N3 = shifted_images(40, 32, 0).reshape(-1, 3)
    shifted_N3 = shifted_images(40, 32, 1, gain=(1.35, 0.70)).reshape(-1, 3)

    plain, shifted = stain_gaps([stain_quantiles(plain_N3), stain_quantiles(shifted_N3)])

    assert shifted.gain[0] / plain.gain[0] == pytest.approx(1.35, abs=0.06)
    assert shifted.gain[1] / plain.gain[1] == pytest.approx(0.70, abs=0.06)
    assert np.abs([plain.offset, shifted.offset]).max() < 0.03


def test_tissue_of_one_colour_has_finite_gaps_within_the_range():
    plain_Q3, shifted_Q3 = np.full((19, 3), 0.3), np.full((19, 3), 0.5)
    for found in stain_gaps([plain_Q3, shifted_Q3]):
        assert np.isfinite([*found.gain, *found.offset]).all()
        assert min(found.gain) >= 0.5
        assert max(found.gain) <= 2.0


@pytest.mark.parametrize(("n_groups", "gain"), [(3, 0.3), (10, 1.0), (20, 1.9)])
def test_nine_in_ten_groups_are_spanned(n_groups, gain):
    gaps = [
        StainGap(gain=(1.0 - 0.1 * group, 1.0, 1.0), offset=(0.0, 0.0, -0.01 * group))
        for group in range(1, n_groups + 1)
    ]
    assert gap_strengths(gaps) == pytest.approx((gain, gain / 10))


def test_groups_are_spanned_by_gain_and_offset_together():
    """Of 20 groups 2 stand out, one by its gain and one by its offset: 18 are within neither's."""
    gains, offsets = np.linspace(0.01, 0.2, 20), np.linspace(0.001, 0.02, 20)
    gains[0], offsets[1] = 0.9, 0.5
    gaps = [
        StainGap(gain=(1.0 + gain, 1.0, 1.0), offset=(offset, 0.0, 0.0))
        for gain, offset in zip(gains, offsets, strict=True)
    ]
    gain, offset = gap_strengths(gaps)
    assert n_spanned(20) == 19
    assert ((gains <= gain) & (offsets <= offset)).sum() >= 19


def test_angles_are_those_from_the_mean_vector():
    turn = np.radians(10.0)
    eosin = (0.0, 1.0, 0.0)
    left = _stain((np.cos(turn), np.sin(turn), 0.0), eosin)
    right = _stain((np.cos(turn), -np.sin(turn), 0.0), eosin)
    published = _stain(PUBLISHED_HE[0].tolist(), PUBLISHED_HE[1].tolist())

    angles = vector_angles([left, published, None, right])

    assert angles[0] == pytest.approx((10.0, 0.0), abs=1e-5)
    assert angles[3] == pytest.approx((10.0, 0.0), abs=1e-5)
    assert angles[1:3] == [None, None]
    assert vector_angles([left, None]) == [None, None]
