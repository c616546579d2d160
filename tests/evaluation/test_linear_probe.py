import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from medsimclr.errors import LabelError, MedSimCLRError
from medsimclr.evaluation import linear_probe
from medsimclr.evaluation.linear_probe import fit_linear


def draw_features(seed=0, *, n_classes=3, n_groups=8, n_tiles_each=15, distance=2.0):
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), n_tiles_each)
    labels = np.tile(np.arange(n_classes), len(groups))[: len(groups)]
    centres = distance * np.eye(n_classes, 6)
    features = centres[labels] + generator.normal(size=(len(groups), 6))
    return features * [1, 10, 100, 1, 1, 1] + 5, labels, groups


@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_equal_scikit_learn_on_standardised_features(n_classes):
    features, labels, groups = draw_features(n_classes=n_classes)
    probe = fit_linear(features, labels, n_classes=n_classes, groups_N=groups, seed=0)
    standardised = (features - features.mean(axis=0)) / features.std(axis=0)
    model = LogisticRegression(C=probe.inverse_penalty, max_iter=500).fit(standardised, labels)
    assert probe.predict_proba(features) == pytest.approx(
        model.predict_proba(standardised), abs=1e-9
    )
    assert probe.converged


def test_gradient_of_the_penalised_loss_vanishes_at_the_fit():
    features, labels, groups = draw_features()
    probe = fit_linear(features, labels, n_classes=3, groups_N=groups, seed=0)
    standardised = (features - probe.mean_D) / probe.scale_D
    error_NC = probe.predict_proba(features) - np.eye(3)[labels]
    gradient = probe.inverse_penalty * standardised.T @ error_NC + probe.weight_DC
    assert np.abs(gradient).max() / probe.inverse_penalty / len(labels) < 1e-3


def test_separable_classes_are_recognised_in_new_patients():
    features, labels, groups = draw_features(distance=8.0)
    probe = fit_linear(features, labels, n_classes=3, groups_N=groups, seed=0)
    new_features, new_labels, _ = draw_features(seed=1, distance=8.0)
    assert (probe.predict_proba(new_features).argmax(axis=1) == new_labels).mean() > 0.98


def test_grouped_choice_penalises_features_that_only_recognise_patients():
    # One indicator a patient tells the class of known patients exactly and of new ones not at all.
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 10)
    labels = groups % 2
    features = np.eye(20)[groups] + 0.05 * generator.normal(size=(200, 20))
    grouped = fit_linear(features, labels, n_classes=2, groups_N=groups, seed=0)
    leaky = fit_linear(features, labels, n_classes=2, groups_N=np.arange(200), seed=0)
    assert grouped.inverse_penalty < leaky.inverse_penalty
    assert grouped.chosen_by == "log loss on left-out patients, 5 folds"


def test_few_patients_take_the_documented_default():
    features, labels, groups = draw_features(n_groups=2)
    probe = fit_linear(features, labels, n_classes=3, groups_N=groups, seed=0)
    assert probe.inverse_penalty == 0.1
    assert probe.chosen_by == "default: some class has fewer than 3 patients"


def test_same_seed_same_choice_and_another_seed_may_choose_otherwise():
    features, labels, groups = draw_features(n_groups=9, n_tiles_each=2, n_classes=2, distance=0.7)
    choices = [
        fit_linear(features, labels, n_classes=2, groups_N=groups, seed=seed).inverse_penalty
        for seed in [0, 1, 2, 3, 0, 1, 2, 3]
    ]
    assert choices[:4] == choices[4:]
    assert len(set(choices)) > 1


def test_a_fold_that_leaves_one_class_to_train_on_counts_alike_for_every_penalty():
    features, labels, _ = draw_features(n_classes=2)
    splits = [(np.flatnonzero(labels == 0), np.arange(len(labels)))]
    assert linear_probe._left_out_loss(features, labels, 2, splits, 1.0) == 0.0


def test_a_class_without_tiles_has_probability_zero():
    features, labels, groups = draw_features(n_classes=3)
    probe = fit_linear(features, labels * 2, n_classes=6, groups_N=groups, seed=0)
    probabilities = probe.predict_proba(features)
    assert np.array_equal(probabilities[:, [1, 3, 5]], np.zeros((len(labels), 3)))
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(labels)))


def test_running_out_of_iterations_is_recorded_and_does_not_warn(monkeypatch):
    monkeypatch.setattr(linear_probe, "_MAX_ITERATIONS", 1)
    features, labels, groups = draw_features()
    assert not fit_linear(features, labels, n_classes=3, groups_N=groups, seed=0).converged


def test_constant_features_and_float32_are_taken():
    features, labels, groups = draw_features()
    features = np.column_stack([features, np.full(len(labels), 0.1)]).astype(np.float32)
    probe = fit_linear(features, labels, n_classes=3, groups_N=groups, seed=0)
    assert np.isfinite(probe.predict_proba(features)).all()
    assert np.abs(probe.weight_DC[-1]).max() < 1e-6


def test_classes_that_each_fill_their_own_patients_are_fitted():
    features, labels, groups = draw_features(n_classes=2)
    labels = groups % 2
    probe = fit_linear(features, labels, n_classes=2, groups_N=groups, seed=0)
    assert probe.chosen_by == "log loss on left-out patients, 4 folds"


def test_a_single_class_is_refused():
    features, _, groups = draw_features()
    labels = np.ones(len(groups), int)
    with pytest.raises(LabelError, match=r"at least two classes, got 120 tiles of classes \[1\]"):
        fit_linear(features, labels, n_classes=3, groups_N=groups, seed=0)


def test_an_unlabelled_tile_is_refused():
    features, labels, groups = draw_features()
    with pytest.raises(LabelError, match="labels must be 0 to 2, got -1 to 1"):
        fit_linear(features, labels - 1, n_classes=3, groups_N=groups, seed=0)


def test_a_feature_that_is_no_number_is_refused():
    features, labels, groups = draw_features()
    features[7, 2] = np.inf
    with pytest.raises(MedSimCLRError, match=r"features must be finite, got 1 .* tile 7"):
        fit_linear(features, labels, n_classes=3, groups_N=groups, seed=0)
