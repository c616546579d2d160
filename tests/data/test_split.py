import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medsimclr.data.split import (
    check_split,
    draw_fold,
    draw_split,
    is_in,
    leak_note,
    read_split,
    require_labels,
    require_part,
    strangers_note,
    untested_note,
    write_split,
)
from medsimclr.errors import LabelError, SplitError


def _cohort(n_by_label):
    """Return patient and label of each tile; every patient has three labelled tiles and one not."""
    patients = [f"p{label}-{i}" for label, n in n_by_label.items() for i in range(n)]
    labels = [label for label, n in n_by_label.items() for _ in range(n)]
    patient_N = np.repeat(np.array(patients, np.str_), 4)
    label_N = np.repeat(np.array(labels, np.int64), 4)
    label_N[::4] = -1
    return patient_N, label_N


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4).filter(lambda n: max(n) > 1),
    test_fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_stratum_is_split_by_its_share_with_a_patient_on_each_side(
    sizes, test_fraction, seed
):
    patient_N, label_N = _cohort(dict(enumerate(sizes)))
    split = draw_split(patient_N, label_N, test_fraction=test_fraction, seed=seed)
    assert sorted(split) == sorted(set(patient_N.tolist()))
    for label, n_patients in enumerate(sizes):
        n_test = sum(part == "test" for p, part in split.items() if p.startswith(f"p{label}-"))
        wanted = round(test_fraction * n_patients)
        assert n_test == min(max(wanted, 1), n_patients - 1)


def test_the_same_seed_gives_the_same_split_whatever_the_order_of_tiles():
    patient_N, label_N = _cohort({0: 8, 1: 8, -1: 5})
    order = np.random.default_rng(1).permutation(len(patient_N))
    first = draw_split(patient_N, label_N, test_fraction=0.25, seed=7)
    assert draw_split(patient_N[order], label_N[order], test_fraction=0.25, seed=7) == first
    others = [draw_split(patient_N, label_N, test_fraction=0.25, seed=s) for s in range(8, 12)]
    assert any(other != first for other in others)


def test_no_patient_is_on_both_sides():
    patient_N, label_N = _cohort({0: 6, 1: 6})
    split = draw_split(patient_N, label_N, test_fraction=0.3, seed=0)
    in_train, in_test = is_in("train", patient_N, split), is_in("test", patient_N, split)
    np.testing.assert_array_equal(in_train, ~in_test)
    assert not set(patient_N[in_train].tolist()) & set(patient_N[in_test].tolist())


def test_a_patient_never_seen_is_test():
    patient_N = np.array(["known", "new"])
    assert is_in("test", patient_N, {"known": "train"}).tolist() == [False, True]
    assert is_in("train", patient_N, {"known": "train"}).tolist() == [True, False]


def test_one_patient_cannot_be_split():
    patient_N, label_N = _cohort({0: 1})
    with pytest.raises(SplitError, match="needs at least 2 patients, got 1; give a patient column"):
        draw_split(patient_N, label_N, test_fraction=0.5, seed=0)


def test_strata_of_one_patient_each_cannot_be_split():
    patient_N, label_N = _cohort({0: 1, 1: 1})
    with pytest.raises(SplitError, match="every stratum has one patient"):
        draw_split(patient_N, label_N, test_fraction=0.5, seed=0)


def test_a_written_split_is_read_back(tmp_path):
    split = {"b, with comma": "test", 'a "quoted"': "train", "ä": "test"}
    write_split(tmp_path / "split.csv", split)
    assert read_split(tmp_path / "split.csv") == split
    assert (tmp_path / "split.csv").read_text().startswith("patient,split\n")


def test_a_patient_in_two_parts_is_refused_with_this_sentence(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("patient,split\na,train\nb,test\na,train\na,test\n")
    sentence = (
        f"split {str(path)!r}, line 5: patient 'a' is in both train and test; a leaked patient "
        "makes every figure wrong. Keep one of the lines."
    )
    with pytest.raises(SplitError, match=f"^{re.escape(sentence)}$"):
        read_split(path)


def test_another_part_than_train_and_test_is_refused(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("patient,split\na,train\nb,val\n")
    with pytest.raises(SplitError, match=r"line 3: split must be train or test, got 'val'"):
        read_split(path)


def test_a_split_must_name_every_patient_of_the_store():
    split = {"a": "train", "b": "test", "elsewhere": "test"}
    check_split(split, ["a", "b"], where="split.csv")
    with pytest.raises(
        SplitError, match=r"split 'split\.csv' must name every .*no part for 'c' \(2 missing\)"
    ):
        check_split(split, ["a", "d", "c", "b"], where="split.csv")


def test_a_split_of_other_patients_says_so_and_how_far_its_spelling_is_off():
    split = {"007": "train", "p 1": "test", "elsewhere": "test"}
    with pytest.raises(SplitError) as caught:
        check_split(split, ["7", "P01"], where="split.csv")
    assert str(caught.value) == (
        "split 'split.csv' must name every patient of the store, got no part for '7' (2 missing); "
        "add them as train or test: 3 of its 3 patients are not in the store ('007', 'elsewhere', "
        "'p 1'); '007' differs from the store's '7' only in its spelling (case, spaces or leading "
        "zeros)."
    )


@pytest.mark.parametrize(
    ("stranger", "own", "is_twin"),
    [
        ("p1", "P1", True),
        ("P001-02", "p1-2", True),
        ("P 1", "P1", True),
        ("P10", "P1", False),
        ("P1", "P100", False),
        ("0", "00", True),
        ("1.05", "1.5", True),
        ("a-0", "a-", False),
    ],
)
def test_names_are_taken_for_one_where_case_spaces_and_leading_zeros_differ(stranger, own, is_twin):
    note = strangers_note({own: "train", stranger: "train"}, [own], where="s")
    assert (
        f"{stranger!r} differs from the store's {own!r} only in its spelling" in note
    ) == is_twin


def test_patients_of_a_split_that_the_store_lacks_are_told_with_three_names():
    split = {"a": "train", "b": "test", **dict.fromkeys("vwxyz", "test")}
    assert strangers_note({"a": "train", "b": "test"}, ["a", "b"], where="s.csv") is None
    assert strangers_note(split, ["a", "b"], where="s.csv") == (
        "note on split 's.csv': 5 of its 7 patients are not in the store ('v', 'w', 'x', ...)."
    )
    assert strangers_note(split, ["a"], where="s.csv") == (
        "note on split 's.csv': 6 of its 7 patients are not in the store ('b', 'v', 'w', ...)."
    )


def test_a_store_of_which_nobody_is_kept_for_the_test_is_noted():
    assert untested_note({"a": "train", "b": "test"}, ["a", "b"]) is None
    assert untested_note({"a": "train"}, ["a", "b"]) is None
    assert untested_note({"a": "train", "b": "test"}, ["a", "a"]) == (
        "note: none of the 1 patients is kept for the test, so that every test on one of them will "
        "be transductive."
    )


def test_a_policy_fitted_to_patients_kept_for_the_test_is_noted():
    split = {"a": "train", "b": "test", "c": "test"}
    assert leak_note(split, [], what="the policy was fitted to") is None
    assert leak_note(split, ["a"], what="the policy was fitted to") is None
    assert leak_note(split, ["c", "a", "b", "b", "elsewhere"], what="the policy was fitted to") == (
        "note: the policy was fitted to 3 patients who are kept for the test, as 'b', so that "
        "every test on one of them will be transductive."
    )


def test_a_part_that_no_patient_of_the_store_is_in_is_refused():
    split = {"a": "train", "b": "train", "c": "test"}
    require_part("train", split, ["a", "b"], where="s.csv")
    require_part("test", split, ["a", "never seen"], where="s.csv")
    sentence = (
        "split 's.csv' must leave the test part a patient of the store, got none of 2; give "
        "another split: 1 of its 3 patients are not in the store ('c')."
    )
    with pytest.raises(SplitError, match=f"^{re.escape(sentence)}$"):
        require_part("test", split, ["a", "b"], where="s.csv")
    with pytest.raises(SplitError, match="the train part"):
        require_part("train", split, ["c"], where="s.csv")


def test_labels_of_fewer_than_two_classes_are_refused():
    require_labels(np.array([-1, 0, 2]), what="the training patients")
    for labels, n_classes in (([-1, 1, 1], 1), ([-1], 0), ([], 0)):
        with pytest.raises(LabelError, match=f"the test must have .* 2 classes, got {n_classes}"):
            require_labels(np.array(labels, np.int64), what="the test")


@given(
    n_patients=st.integers(2, 30),
    n_folds=st.integers(2, 6),
    first=st.integers(0, 5),
    labels=st.lists(st.integers(-1, 2), min_size=30, max_size=30),
)
def test_as_many_seeds_as_folds_test_every_patient_once(n_patients, n_folds, first, labels):
    assume(n_patients >= n_folds)
    patient_N = np.array([f"P{i}" for i in range(n_patients)])
    label_N = np.array(labels[:n_patients])
    seeds = range(first * n_folds, (first + 1) * n_folds)
    splits = [draw_fold(patient_N, label_N, n_folds=n_folds, seed=seed) for seed in seeds]
    tested = [[p for p, part in split.items() if part == "test"] for split in splits]
    assert sorted(p for fold in tested for p in fold) == sorted(patient_N.tolist())
    for label in np.unique(label_N):
        own = set(patient_N[label_N == label].tolist())
        counts = [len(own & set(fold)) for fold in tested]
        assert max(counts) - min(counts) <= 1


def test_more_folds_than_patients_are_refused():
    with pytest.raises(SplitError, match="3 folds by patient need at least 3 patients, got 2"):
        draw_fold(np.array(["a", "b"]), np.array([0, 1]), n_folds=3, seed=0)
