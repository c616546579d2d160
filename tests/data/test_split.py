import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsimclr.data.split import (
    check_split,
    draw_split,
    is_in,
    read_split,
    require_labels,
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


def test_labels_of_fewer_than_two_classes_are_refused():
    require_labels(np.array([-1, 0, 2]), what="the training patients")
    for labels, n_classes in (([-1, 1, 1], 1), ([-1], 0), ([], 0)):
        with pytest.raises(LabelError, match=f"the test must have .* 2 classes, got {n_classes}"):
            require_labels(np.array(labels, np.int64), what="the test")
