import numpy as np
import pytest
from scipy import stats

from medsimclr.evaluation.seed_interval import seed_interval


def test_it_is_the_interval_of_a_t_test():
    values = [0.71, 0.78, 0.74, 0.90]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert seed_interval(values, level=0.9) == pytest.approx(
        (np.mean(values), expected.low, expected.high)
    )


def test_it_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(0.8, 0.03, (2000, 3))
    found = [seed_interval(row.tolist()) for row in draws]
    covered = np.mean([i.low <= 0.8 <= i.high for i in found])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_one_seed_tells_no_spread():
    assert seed_interval([0.7]) == (0.7, None, None)
