import numpy as np
import pytest

from medsimclr.evaluation.readability import readability

N_GROUPS, N_UNITS, N_TILES = 4, 5, 20


def planted(*, of_group, of_unit, seed=0):
    """Features with a mark of the group and one of the unit, each as strong as asked."""
    rng = np.random.default_rng(seed)
    group_N = np.repeat(np.arange(N_GROUPS), N_UNITS * N_TILES)
    unit_N = np.repeat(np.arange(N_GROUPS * N_UNITS), N_TILES)
    features_ND = rng.normal(size=(len(group_N), 16))
    features_ND += of_group * rng.normal(size=(N_GROUPS, 16))[group_N]
    features_ND += of_unit * rng.normal(size=(N_GROUPS * N_UNITS, 16))[unit_N]
    return features_ND, np.array(list("abcd"))[group_N], unit_N


def test_a_planted_group_is_read_and_noise_is_not():
    found = readability(*planted(of_group=5, of_unit=0), seed=0)
    assert found.accuracy > 0.99
    assert found.chance == 0.25
    none = readability(*planted(of_group=0, of_unit=0), seed=0)
    assert none.accuracy == pytest.approx(0.25, abs=0.08)


def test_units_that_are_recognised_win_nothing():
    """With a unit on both sides, its mark alone would name its group."""
    features_ND, group_N, unit_N = planted(of_group=0, of_unit=5)
    assert readability(features_ND, group_N, unit_N, seed=0).accuracy < 0.5
    leaky_N = np.arange(len(unit_N))
    assert readability(features_ND, group_N, leaky_N, seed=0).accuracy > 0.95


def test_a_group_of_one_unit_is_left_out():
    features_ND, group_N, unit_N = planted(of_group=5, of_unit=0)
    kept = (group_N != "d") | (unit_N == unit_N[-1])
    found = readability(features_ND[kept], group_N[kept], unit_N[kept], seed=0)
    assert found.chance == pytest.approx(1 / 3)


def test_fewer_than_two_groups_cannot_be_told_apart():
    features_ND, group_N, unit_N = planted(of_group=5, of_unit=0)
    first = group_N == "a"
    assert readability(features_ND[first], group_N[first], unit_N[first], seed=0) is None
