import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, roc_auc_score

from medsimclr.errors import LabelError, MedSimCLRError
from medsimclr.evaluation.metrics import classification_metrics
from tests.references.classification_metrics import confusion_loops, macro_auroc_pairs


def draw_tiles(seed, n_classes, n_tiles=60, n_levels=8):
    """Labels that hold every class, and probabilities in few steps, so that many of them tie."""
    generator = np.random.default_rng(seed)
    labels = np.append(np.arange(n_classes), generator.integers(0, n_classes, n_tiles - n_classes))
    steps = generator.integers(1, n_levels, (n_tiles, n_classes)).astype(np.float64)
    return labels, steps / steps.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_metrics_equal_the_loop_reference(n_classes):
    labels, probabilities = draw_tiles(1, n_classes)
    counts = confusion_loops(labels.tolist(), probabilities.tolist())
    recalls = [counts[c][c] / sum(counts[c]) for c in range(n_classes)]

    metrics = classification_metrics(labels, probabilities, n_classes=n_classes)

    assert [list(row) for row in metrics.confusion_CC] == counts
    assert metrics.recall_C == pytest.approx(recalls, abs=1e-12)
    assert metrics.balanced_accuracy == pytest.approx(np.mean(recalls), abs=1e-12)
    assert metrics.accuracy == pytest.approx(np.trace(counts) / len(labels), abs=1e-12)
    assert metrics.auroc == pytest.approx(
        macro_auroc_pairs(labels.tolist(), probabilities.tolist()), abs=1e-12
    )


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_scikit_learn(n_classes, seed):
    labels, probabilities = draw_tiles(seed, n_classes, n_tiles=200)
    predicted = probabilities.argmax(axis=1)
    score = probabilities[:, 1] if n_classes == 2 else probabilities

    metrics = classification_metrics(labels, probabilities, n_classes=n_classes)

    assert metrics.auroc == pytest.approx(
        roc_auc_score(labels, score, multi_class="ovr", average="macro"), abs=1e-12
    )
    assert metrics.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert np.array_equal(metrics.confusion_CC, confusion_matrix(labels, predicted))


@given(
    seed=st.integers(0, 10**6),
    n_classes=st.sampled_from([2, 4]),
    weights=st.lists(st.integers(0, 4), min_size=20, max_size=20).filter(any),
)
@settings(max_examples=60, deadline=None)
def test_a_weight_is_the_same_as_repeating_the_tile(seed, n_classes, weights):
    labels, probabilities = draw_tiles(seed, n_classes, n_tiles=20)

    weighted = classification_metrics(
        labels, probabilities, n_classes=n_classes, weights_N=np.array(weights)
    )
    repeated = classification_metrics(
        np.repeat(labels, weights), np.repeat(probabilities, weights, axis=0), n_classes=n_classes
    )

    assert weighted.confusion_CC == repeated.confusion_CC
    assert weighted.recall_C == repeated.recall_C
    assert weighted.auroc == pytest.approx(repeated.auroc, abs=1e-12)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_order_of_tiles_does_not_matter(seed):
    labels, probabilities = draw_tiles(seed, 3)
    order = np.random.default_rng(seed).permutation(len(labels))

    given_order = classification_metrics(labels, probabilities, n_classes=3)
    shuffled = classification_metrics(labels[order], probabilities[order], n_classes=3)

    assert given_order == shuffled


def test_a_binary_score_and_its_reverse_have_aurocs_that_sum_to_one():
    labels, probabilities = draw_tiles(3, 2)
    forward = classification_metrics(labels, probabilities, n_classes=2).auroc
    backward = classification_metrics(labels, probabilities[:, ::-1], n_classes=2).auroc
    assert forward + backward == pytest.approx(1.0, abs=1e-12)


def test_a_binary_auroc_ranks_by_the_probability_of_class_1_alone():
    probabilities = [[0.1, 0.2], [0.1, 0.3], [0.9, 0.4]]
    assert classification_metrics([0, 1, 1], probabilities, n_classes=2).auroc == 1.0


def test_equal_probabilities_have_an_auroc_of_one_half():
    metrics = classification_metrics([0, 1, 1, 0, 1], np.full((5, 2), 0.5), n_classes=2)
    assert metrics.auroc == 0.5


def test_an_absent_class_leaves_its_recall_and_the_auroc_undefined():
    labels, probabilities = draw_tiles(0, 3)
    present = labels != 2
    metrics = classification_metrics(labels[present], probabilities[present], n_classes=3)
    assert metrics.auroc is None
    assert metrics.recall_C[2] is None
    assert metrics.balanced_accuracy == pytest.approx(np.mean(metrics.recall_C[:2]))


def test_no_tiles_are_refused():
    with pytest.raises(LabelError, match="expected labelled tiles to evaluate, got none"):
        classification_metrics([], np.zeros((0, 2)), n_classes=2)


def test_weights_of_zero_alone_are_refused():
    with pytest.raises(LabelError, match="a weight above 0, got none"):
        classification_metrics([0, 1], np.eye(2), n_classes=2, weights_N=[0, 0])


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_that_is_no_class_is_refused(label):
    with pytest.raises(LabelError, match=f"labels must be 0 to 1, got {label} for tile 1"):
        classification_metrics([0, label], np.eye(2), n_classes=2)


def test_a_probability_that_is_no_number_is_refused():
    with pytest.raises(MedSimCLRError, match=r"must be finite, got \[nan, 1.0\] for tile 1"):
        classification_metrics([0, 1], [[0.5, 0.5], [np.nan, 1.0]], n_classes=2)
