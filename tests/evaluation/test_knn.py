import numpy as np
import pytest

from medsimclr.errors import ConfigError, LabelError
from medsimclr.evaluation import knn
from medsimclr.evaluation.knn import cosine_neighbours, knn_across_units, knn_probabilities
from tests.references.knn import across_units_loops, cosine_loops, knn_loops


def draw_features(dtype=np.float64):
    generator = np.random.default_rng(0)
    query, bank = generator.normal(size=(9, 5)), generator.normal(size=(30, 5))
    bank[4] = 0.0
    return query.astype(dtype), bank.astype(dtype), generator.integers(0, 3, 30)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
@pytest.mark.parametrize("k", [1, 7, 30])
def test_neighbours_and_probabilities_equal_the_loop_reference(dtype, tolerance, k):
    query, bank, labels = draw_features(dtype)
    similarities, probabilities = knn_loops(query, bank, labels, n_classes=3, k=k, temperature=0.07)

    indices_QK, similarity_QK = cosine_neighbours(query, bank, k=k)

    assert similarity_QK == pytest.approx(np.array(similarities), abs=tolerance)
    for row, neighbours in enumerate(indices_QK):
        found = [cosine_loops(query[row], bank[n]) for n in neighbours]
        assert found == pytest.approx(similarities[row], abs=tolerance)
    assert knn_probabilities(query, bank, labels, n_classes=3, k=k) == pytest.approx(
        np.array(probabilities), abs=tolerance
    )


def test_blocks_give_the_same_neighbours_as_one_product(monkeypatch):
    query, bank, _ = draw_features()
    whole = cosine_neighbours(query, bank, k=5)
    monkeypatch.setattr(knn, "_BLOCK_ENTRIES", 2 * len(bank))
    in_blocks = cosine_neighbours(query, bank, k=5)
    assert np.array_equal(whole[0], in_blocks[0])
    assert in_blocks[1] == pytest.approx(whole[1], abs=1e-12)


def test_length_of_a_feature_does_not_matter():
    query, bank, labels = draw_features()
    scaled = knn_probabilities(query * 1e3, bank * 1e-3, labels, n_classes=3, k=5)
    assert scaled == pytest.approx(
        knn_probabilities(query, bank, labels, n_classes=3, k=5), abs=1e-12
    )


def test_a_tiny_temperature_lets_the_nearest_decide():
    query, bank, labels = draw_features()
    nearest = labels[cosine_neighbours(query, bank, k=1)[0][:, 0]]
    probabilities = knn_probabilities(query, bank, labels, n_classes=3, k=9, temperature=1e-5)
    assert np.array_equal(probabilities, np.eye(3)[nearest])


@pytest.mark.parametrize("k", [0, 31])
def test_k_beyond_the_bank_is_refused(k):
    query, bank, _ = draw_features()
    with pytest.raises(ConfigError, match=f"k must be between 1 and the 30 .*, got {k}"):
        cosine_neighbours(query, bank, k=k)


def test_a_temperature_of_zero_is_refused():
    query, bank, labels = draw_features()
    with pytest.raises(ConfigError, match="temperature must be above 0, got 0"):
        knn_probabilities(query, bank, labels, n_classes=3, k=3, temperature=0)


def test_an_unlabelled_bank_entry_is_refused():
    query, bank, labels = draw_features()
    labels[2] = -1
    with pytest.raises(LabelError, match="labels must be 0 to 2, got -1 to 2"):
        knn_probabilities(query, bank, labels, n_classes=3, k=3)


def draw_sample():
    """48 tiles of 3 classes and 6 units; class and, more strongly, unit shift the features."""
    generator = np.random.default_rng(0)
    labels, units = np.arange(48) % 3, np.arange(48) // 8
    shifts = generator.normal(size=(3, 5)), 3 * generator.normal(size=(6, 5))
    features = generator.normal(size=(48, 5)) + shifts[0][labels] + shifts[1][units]
    return features, labels, units


@pytest.mark.parametrize("k", [1, 5, 16])
def test_accuracy_across_units_equals_the_loop_reference(k):
    features, labels, units = draw_sample()
    expected = across_units_loops(features, labels, units, k=k, temperature=0.07)
    assert 0 < expected < 1
    assert knn_across_units(features, labels, units, k=k) == pytest.approx(expected, abs=1e-12)


def test_recognising_the_patient_wins_nothing():
    """Tiles of a patient are alike and of one class: plain neighbours would always be right."""
    generator = np.random.default_rng(0)
    units = np.repeat(np.arange(8), 6)
    features = np.eye(8)[units] + 0.01 * generator.normal(size=(48, 8))
    assert knn_across_units(features, units % 2, units, k=3) < 0.8


def test_fewer_neighbours_vote_than_the_smallest_class_has_tiles():
    """Three tiles against thirty: with twenty votes the thirty would win every tile."""
    labels, units = np.array([0] * 3 + [1] * 30), np.arange(33)
    features = np.eye(2)[labels] + np.linspace(0, 0.1, 33)[:, None]
    assert across_units_loops(features, labels, units, k=20, temperature=100) == 0.5
    assert knn_across_units(features, labels, units, temperature=100) == 1.0


def test_unlabelled_tiles_and_classes_of_one_unit_are_left_out():
    features, labels, units = draw_sample()
    expected = knn_across_units(features[labels < 2], labels[labels < 2], units[labels < 2])
    unlabelled = np.where(labels == 2, -1, labels)
    assert knn_across_units(features, unlabelled, units) == expected
    one_unit = np.where((labels == 2) & (units > 0), -1, labels)
    assert knn_across_units(features, one_unit, units) == expected


@pytest.mark.parametrize(
    ("labels", "units"),
    [
        ([-1, -1, -1, -1], [0, 1, 2, 3]),
        ([1, 1, 1, 1], [0, 1, 2, 3]),
        ([0, 1, 0, 1], [0, 0, 0, 0]),
        ([0, 0, 1, 1], [0, 1, 2, 2]),
    ],
)
def test_accuracy_across_units_needs_two_classes_of_two_units(labels, units):
    assert knn_across_units(np.eye(4), labels, units) is None
