from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medsimclr.data.labels import apply_label_table, choose_labelled, keep_classes
from medsimclr.errors import LabelError


def _cohort(make_index):
    """Two classes and unlabelled tiles; patient p0 has ten times the tiles of the others."""
    labels, patients = [], []
    for patient, n_tiles in [("p0", 300), ("p1", 30), ("p2", 30), ("p3", 30)]:
        labels += [i % 3 - 1 for i in range(n_tiles)]
        patients += [patient] * n_tiles
    return make_index(labels, patients)


def test_the_choice_is_even_over_classes_and_patients(make_index):
    index = _cohort(make_index)
    chosen = index.select(choose_labelled(index, n_labels=24, seed=0))
    assert Counter(chosen.label_N.tolist()) == {0: 12, 1: 12}
    pairs = Counter(zip(chosen.label_N.tolist(), chosen.patient_N.tolist(), strict=True))
    assert set(pairs.values()) == {3}
    assert len(pairs) == 8


def test_the_choice_is_deterministic_and_sorted(make_index):
    index = _cohort(make_index)
    chosen = choose_labelled(index, n_labels=50, seed=3)
    np.testing.assert_array_equal(chosen, choose_labelled(index, n_labels=50, seed=3))
    np.testing.assert_array_equal(chosen, np.unique(chosen))
    assert choose_labelled(index, n_labels=50, seed=4).tolist() != chosen.tolist()


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_a_smaller_choice_is_part_of_a_larger_one(make_index, data, seed):
    n_tiles = data.draw(st.integers(1, 60))
    label = st.integers(-1, 2)
    patient = st.sampled_from(["a", "b", "c"])
    labels = data.draw(st.lists(label, min_size=n_tiles, max_size=n_tiles))
    patients = data.draw(st.lists(patient, min_size=n_tiles, max_size=n_tiles))
    index = make_index(labels, patients)
    choices = [set(choose_labelled(index, n_labels=n, seed=seed).tolist()) for n in range(n_tiles)]
    n_labelled = sum(value >= 0 for value in labels)
    for n_labels, (smaller, larger) in enumerate(pairwise(choices)):
        assert smaller <= larger
        assert len(smaller) == min(n_labels, n_labelled)
        assert all(labels[tile] >= 0 for tile in larger)


def test_fewer_labelled_tiles_than_asked_are_all_chosen(make_index):
    index = make_index([0, -1, 1, 0], ["a", "a", "b", "b"])
    assert choose_labelled(index, n_labels=500, seed=0).tolist() == [0, 2, 3]


def _apply(index, tmp_path, text, **options):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    options = {"slide_ids": ["a", "b"], "classes": ["n", "t"], **options}
    return apply_label_table(index, path, **options)


@pytest.fixture
def index(make_index):
    """Two tiles of slide a, two of slide b; corners at x = 0, 10, 20, 30."""
    return make_index([1, 1, 1, 1], ["a", "a", "b", "b"])


def test_a_table_of_slides_labels_all_their_tiles_and_leaves_the_rest_without(index, tmp_path):
    labelled, classes = _apply(index, tmp_path, "slide,label\nb,n\nb,n\n")
    assert labelled.label_N.tolist() == [-1, -1, 0, 0]
    assert classes == ["n", "t"]
    assert index.label_N.tolist() == [1, 1, 1, 1]


def test_a_table_of_corners_labels_single_tiles(index, tmp_path):
    labelled, _ = _apply(index, tmp_path, "slide,x,y,label\na,10,0,t\nb,20,0,n\n")
    assert labelled.label_N.tolist() == [-1, 1, 0, -1]


def test_a_store_without_classes_takes_those_of_the_table_sorted(index, tmp_path):
    labelled, classes = _apply(index, tmp_path, "slide,label\na,z\nb,c\n", classes=[])
    assert classes == ["c", "z"]
    assert labelled.label_N.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slide\na\n", r"must have the column 'label'"),
        ("slide,label\nc,n\n", r"line 2: unknown slide 'c'; known: a, b\."),
        ("slide,label\na,n\nb,tumour\n", r"line 3: unknown label 'tumour'; known: n, t\."),
        ("slide,label\na,n\na,t\n", r"line 3: slide 'a' already has another label"),
        ("slide,x,y,label\na,0,0,n\na,0,0,t\n", r"line 3: slide 'a' already has another label"),
        ("slide,x,y,label\na,1,0,n\n", r"line 2: slide 'a' has no tile at x 1, y 0"),
        ("slide,x,y,label\na,20,0,n\n", r"line 2: slide 'a' has no tile at x 20, y 0"),
        ("slide,x,label\na,0,n\n", r"line 2: x and y must be whole numbers .*got '0' and None"),
        ("slide,x,y,label\na,0.5,0,n\n", r"line 2: x and y must be whole numbers .*got '0\.5'"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(index, tmp_path, text, message):
    with pytest.raises(LabelError, match=message):
        _apply(index, tmp_path, text)


def test_kept_classes_are_numbered_as_named_and_others_lose_their_label(make_index):
    index = make_index([0, 1, 2, -1], ["a"] * 4)
    kept, names = keep_classes(index, ["x", "y", "z"], ["z", "x"])
    assert kept.label_N.tolist() == [1, -1, 0, -1]
    assert names == ["z", "x"]


def test_an_unknown_kept_class_is_refused_with_the_known_ones(make_index):
    index = make_index([0], ["a"])
    with pytest.raises(LabelError, match=r"unknown class 'w'; the labels have: x, y\."):
        keep_classes(index, ["x", "y"], ["x", "w"])
    with pytest.raises(LabelError, match=r"the labels have: none \(tile with --annotations"):
        keep_classes(index, [], ["w"])
