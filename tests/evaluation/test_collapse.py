"""Figures are those that runs on real tiles gave; DECISIONS.md says which."""

import math

import pytest

from medsimclr.evaluation.collapse import feature_symptoms, task_symptoms, temperature_symptoms


def of_features(rank, *, largest=2.0, n_tiles=512, n_features=512, is_warm=True):
    return feature_symptoms(
        effective_rank=rank,
        largest=largest,
        n_tiles=n_tiles,
        n_features=n_features,
        is_warm=is_warm,
    )


def of_task(accuracy, entropy_share, *, batch_size=128, is_first=False, is_warm=True):
    return task_symptoms(
        accuracy=accuracy,
        entropy=entropy_share * math.log(batch_size),
        batch_size=batch_size,
        is_first=is_first,
        is_warm=is_warm,
    )


@pytest.mark.parametrize("rank", [4.4, 12.7, 22.0, 120.0])
def test_nothing_is_said_of_healthy_features(rank):
    assert of_features(rank) == {}


@pytest.mark.parametrize("rank", [1.0008, 1.006, 1.9])
def test_equal_features_are_a_collapse(rank):
    [(kind, sentence)] = of_features(rank).items()
    assert kind == "collapse"
    expected = "all tiles get nearly the same features (effective rank 1.0 of 512)"
    assert rank > 1.1 or expected in sentence
    assert "lower base_lr" in sentence


def test_few_directions_are_a_dimensional_collapse():
    [(kind, sentence)] = of_features(2.9, n_features=256).items()
    assert kind == "few_directions"
    assert "dimensional collapse" in sentence
    assert "effective rank 2.9 of 256" in sentence
    assert of_features(2.9, is_warm=False) == {}
    assert list(of_features(1.9, is_warm=False)) == ["collapse"]


@pytest.mark.parametrize("largest", [1e20, math.inf, math.nan])
def test_features_without_bound_are_named(largest):
    assert list(of_features(29.6, largest=largest)) == ["overflow"]
    assert "lower base_lr" in of_features(math.nan, largest=largest)["overflow"]


def test_small_samples_and_batches_are_not_judged():
    assert of_features(1.0, n_tiles=31) == {}
    assert list(of_features(1.0, n_tiles=32)) == ["collapse"]
    assert of_task(1 / 7, 1.0, batch_size=7) == {}
    assert list(of_task(1 / 8, 1.0, batch_size=8)) == ["chance"]


@pytest.mark.parametrize(
    ("accuracy", "entropy_share", "batch_size"),
    [(0.084, 0.69, 128), (0.055, 0.727, 64), (0.16, 0.573, 64), (0.99, 0.02, 128)],
)
@pytest.mark.parametrize("is_first", [False, True])
def test_nothing_is_said_of_a_healthy_task(accuracy, entropy_share, batch_size, is_first):
    if accuracy < 0.9 or not is_first:
        assert of_task(accuracy, entropy_share, batch_size=batch_size, is_first=is_first) == {}


@pytest.mark.parametrize("entropy_share", [0.4, 0.7, 1.0])
def test_a_task_at_chance_is_named_once_the_warm_up_is_over(entropy_share):
    [(kind, sentence)] = of_task(1 / 128, entropy_share).items()
    assert kind == "chance"
    assert "still at chance (accuracy 0.008, chance is 0.008; entropy " in sentence
    assert of_task(1 / 128, entropy_share, is_warm=False) == {}


def test_a_temperature_far_too_low_is_named():
    [(kind, sentence)] = of_task(0.069, 0.039).items()
    assert kind == "hard"
    assert "the temperature is too low; raise it" in sentence


def test_a_temperature_far_too_high_is_named():
    [(kind, sentence)] = of_task(0.066, 0.999998).items()
    assert kind == "soft"
    assert "the temperature is too high; lower it" in sentence


def test_a_task_that_an_untrained_network_solves_is_named():
    [(kind, sentence)] = of_task(1.0, 0.022, is_first=True, is_warm=False).items()
    assert kind == "trivial"
    assert "too much alike; choose a stronger policy" in sentence


@pytest.mark.parametrize("temperature", [0.01, 0.05, 0.1, 1.0, 10.0])
def test_nothing_is_said_of_a_usual_temperature(temperature):
    assert temperature_symptoms(temperature) == {}


@pytest.mark.parametrize(
    ("temperature", "said"),
    [
        (1e-6, "the temperature 1e-06 is far below the 0.05 to 1"),
        (0.009, "a single other tile for each"),
        (1000.0, "at most 1.002 times the tile most unlike it"),
        (20.0, "at most 1.105 times the tile most unlike it"),
    ],
)
def test_an_absurd_temperature_is_named_by_itself(temperature, said):
    [(kind, sentence)] = temperature_symptoms(temperature).items()
    assert kind == "temperature"
    assert said in sentence
    assert ("; raise it, or see" if temperature < 1 else "; lower it, or see") in sentence
