import numpy as np
import pytest

from medsimclr.evaluation.bootstrap import Interval, patient_bootstrap
from medsimclr.evaluation.metrics import classification_metrics
from tests.references.patient_bootstrap import bootstrap_by_copying


def draw_patients(seed, *, n_patients, n_tiles_each=8, n_classes=2):
    """Tiles of patients that differ in how well they are recognised."""
    generator = np.random.default_rng(seed)
    units = np.repeat(np.arange(n_patients), n_tiles_each)
    labels = generator.integers(0, n_classes, len(units))
    skill = generator.normal(1.0, 1.0, n_patients)[units]
    logits = generator.normal(size=(len(units), n_classes))
    logits[np.arange(len(units)), labels] += skill
    odds = np.exp(logits)
    return labels, odds / odds.sum(axis=1, keepdims=True), units


def percentile_interval(values):
    low, high = np.quantile(values, [0.025, 0.975])
    return pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_intervals_equal_those_of_copied_tiles(n_classes):
    labels, probabilities, units = draw_patients(
        0, n_patients=6, n_tiles_each=4, n_classes=n_classes
    )
    # Class 1 in the first two patients alone: some resamples lack it.
    labels[(labels == 1) & (units >= 2)] = 0
    labels[[0, 4]] = 1
    accuracies, balanced, areas, rates = bootstrap_by_copying(
        labels, probabilities, units, n_resamples=60, seed=7
    )

    result = patient_bootstrap(labels, probabilities, units, n_resamples=60, seed=7)

    assert result.n_used == len(rates) < 60
    assert (result.accuracy.low, result.accuracy.high) == percentile_interval(accuracies)
    assert (result.auroc.low, result.auroc.high) == percentile_interval(areas)
    assert (
        result.balanced_accuracy.low,
        result.balanced_accuracy.high,
    ) == percentile_interval(balanced)
    for truth, predicted in np.ndindex(n_classes, n_classes):
        interval = result.confusion_rate_CC[truth][predicted]
        expected = percentile_interval(np.array(rates)[:, truth, predicted])
        assert (interval.low, interval.high) == expected


def test_recall_intervals_are_the_diagonal_of_the_confusion_rates():
    result = patient_bootstrap(*draw_patients(1, n_patients=12, n_classes=3), seed=0)
    assert result.recall_C == tuple(result.confusion_rate_CC[c][c] for c in range(3))


def test_same_seed_same_intervals_and_another_seed_others():
    tiles = draw_patients(1, n_patients=12)
    first = patient_bootstrap(*tiles, n_resamples=100, seed=0)
    assert first == patient_bootstrap(*tiles, n_resamples=100, seed=0)
    assert first != patient_bootstrap(*tiles, n_resamples=100, seed=1)


def test_order_of_tiles_does_not_matter():
    labels, probabilities, units = draw_patients(1, n_patients=12)
    order = np.random.default_rng(0).permutation(len(labels))
    assert patient_bootstrap(
        labels[order], probabilities[order], units[order], n_resamples=50, seed=0
    ) == patient_bootstrap(labels, probabilities, units, n_resamples=50, seed=0)


def test_a_lower_level_gives_a_narrower_interval():
    tiles = draw_patients(1, n_patients=12)
    wide = patient_bootstrap(*tiles, n_resamples=200, level=0.95, seed=0).auroc
    narrow = patient_bootstrap(*tiles, n_resamples=200, level=0.5, seed=0).auroc
    assert wide.low < narrow.low < narrow.high < wide.high


def test_ninety_five_percent_intervals_cover_the_truth_over_patients_but_not_over_tiles():
    # Each patient's tiles are right with a probability from Beta(4, 2): the true accuracy is 2/3.
    truth, n_patients, n_tiles_each, n_simulations = 2 / 3, 30, 15, 150
    generator = np.random.default_rng(0)
    covered = {"patients": 0, "tiles": 0}
    for simulation in range(n_simulations):
        patients = np.repeat(np.arange(n_patients), n_tiles_each)
        is_right = generator.random(len(patients)) < generator.beta(4, 2, n_patients)[patients]
        labels = generator.integers(0, 2, len(patients))
        probabilities = np.eye(2)[np.where(is_right, labels, 1 - labels)]
        for unit, units in (("patients", patients), ("tiles", np.arange(len(patients)))):
            interval = patient_bootstrap(
                labels, probabilities, units, n_resamples=100, seed=simulation
            ).accuracy
            covered[unit] += interval.low <= truth <= interval.high
    # 150 simulations of 95 % have a standard error of 1.8 percentage points.
    assert 0.87 <= covered["patients"] / n_simulations <= 0.99
    assert covered["tiles"] / n_simulations < 0.80


def test_one_patient_has_no_interval_and_says_so():
    labels, probabilities, _ = draw_patients(0, n_patients=4)
    result = patient_bootstrap(labels, probabilities, np.zeros(len(labels), int), seed=0)
    assert result.accuracy is result.auroc is result.balanced_accuracy is None
    assert result.confusion_rate_CC == ((None, None), (None, None))
    assert result.warnings == ("All tiles come from one patient: no interval can be computed.",)


def test_a_class_of_one_patient_has_no_interval_and_says_so():
    labels, probabilities, units = draw_patients(0, n_patients=12)
    labels[:] = units == 3
    result = patient_bootstrap(
        labels, probabilities, units, seed=0, class_names=["normal", "tumour"]
    )
    assert result.recall_C[1] is result.auroc is result.balanced_accuracy is None
    assert isinstance(result.recall_C[0], Interval)
    assert isinstance(result.accuracy, Interval)
    assert "All tiles of class tumour come from one patient" in result.warnings[0]
    assert 0 < result.n_used < result.n_resamples
    assert f"{1000 - result.n_used:,} of 1,000 resamples lacked a class" in result.warnings[1]


def test_an_absent_class_has_no_interval_and_says_so():
    labels, _, units = draw_patients(0, n_patients=12, n_classes=3)
    labels[labels == 2] = 1
    result = patient_bootstrap(labels, np.eye(3)[labels], units, n_resamples=50, seed=0)
    assert result.auroc is None
    assert result.confusion_rate_CC[2] == (None, None, None)
    assert result.balanced_accuracy == Interval(low=1.0, high=1.0)
    assert "No tile is of class 2: the AUROC is not defined." in result.warnings


def test_few_units_are_named_in_a_warning():
    tiles = draw_patients(0, n_patients=5)
    result = patient_bootstrap(*tiles, n_resamples=50, seed=0, unit="slide")
    assert result.warnings == ("5 slides are few: the intervals are likely too narrow.",)


def test_intervals_of_a_perfect_classifier_end_at_one():
    labels, _, units = draw_patients(0, n_patients=12)
    result = patient_bootstrap(labels, np.eye(2)[labels], units, n_resamples=50, seed=0)
    assert result.auroc == result.accuracy == Interval(low=1.0, high=1.0)
    assert classification_metrics(labels, np.eye(2)[labels], n_classes=2).auroc == 1.0
