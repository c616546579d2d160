"""Which patients are trained on and which are kept for the test.

A split is a table `patient,split` with the values train and test: a person can read and write it.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from medsimclr.errors import LabelError, SplitError
from medsimclr.files.atomic import write_text
from medsimclr.files.table import read_table

__all__ = [
    "Part",
    "Split",
    "check_split",
    "draw_fold",
    "draw_split",
    "is_in",
    "leak_note",
    "read_split",
    "require_labels",
    "require_part",
    "strangers_note",
    "untested_note",
    "write_split",
]

Part = Literal["train", "test"]
Split = Mapping[str, Part]
_PARTS = ("train", "test")


def draw_split(
    patient_N: npt.NDArray[np.str_],
    label_N: npt.NDArray[np.int64],
    *,
    test_fraction: float,
    seed: int,
) -> dict[str, Part]:
    """Draw test patients, stratified by the label that most of a patient's tiles have.

    Args:
        patient_N: patient of each tile.
        label_N: label of each tile, -1 for none.
        test_fraction: share of the patients of every stratum, at least one where it has two.
        seed: the same seed and patients give the same split.

    Raises:
        SplitError: there are fewer than two patients.
    """
    patients = np.unique(patient_N)
    if len(patients) < 2:
        raise SplitError(
            f"a split by patient needs at least 2 patients, got {len(patients)}; give a patient "
            "column in slides.csv, or a larger store."
        )
    rng = np.random.default_rng(seed)
    split: dict[str, Part] = {}
    for members in _strata(patient_N, label_N):
        order = rng.permutation(members).tolist()
        n_test = min(max(round(test_fraction * len(order)), 1), len(order) - 1)
        split.update(dict.fromkeys(order[:n_test], "test"))
        split.update(dict.fromkeys(order[n_test:], "train"))
    if "test" not in split.values():
        raise SplitError(
            "every stratum has one patient, so none can be spared for the test; give a --split "
            "table with the columns patient and split."
        )
    return dict(sorted(split.items()))


def draw_fold(
    patient_N: npt.NDArray[np.str_],
    stratum_N: npt.NDArray[np.int64],
    *,
    n_folds: int,
    seed: int,
) -> dict[str, Part]:
    """Draw test patients so that `n_folds` seeds in a row test every patient once.

    Seeds 0 to n_folds - 1 share one stratified deal of the patients into folds, the next n_folds
    seeds another.

    Args:
        patient_N: patient of each tile.
        stratum_N: stratum of each tile, its label say, -1 for none; a patient's is that of most.
        n_folds: parts of the patients, 2 or more; one is for the test.
        seed: chooses deal and part.

    Raises:
        SplitError: there are fewer patients than folds.
    """
    n_patients = len(np.unique(patient_N))
    if n_patients < n_folds:
        raise SplitError(
            f"{n_folds} folds by patient need at least {n_folds} patients, got {n_patients}; give "
            "fewer folds, a patient column in slides.csv, or a larger store."
        )
    rng = np.random.default_rng(seed // n_folds)
    dealt = [p for members in _strata(patient_N, stratum_N) for p in rng.permutation(members)]
    return {
        str(patient): "test" if place % n_folds == seed % n_folds else "train"
        for place, patient in sorted(enumerate(dealt), key=lambda pair: str(pair[1]))
    }


def _strata(patient_N: npt.NDArray[np.str_], stratum_N: npt.NDArray[np.int64]) -> list[list[str]]:
    """Group patients by the stratum, 0 or more, that most of their tiles have, in its order."""
    strata: dict[int, list[str]] = {}
    for patient in np.unique(patient_N).tolist():
        own = stratum_N[patient_N == patient]
        own = own[own >= 0]
        main = int(np.bincount(own).argmax()) if len(own) else -1
        strata.setdefault(main, []).append(patient)
    return [members for _, members in sorted(strata.items())]


def read_split(path: Path) -> dict[str, Part]:
    """Read a split table.

    Raises:
        SplitError: a patient is in two parts, or a part has another name.
    """
    split: dict[str, Part] = {}
    for row in read_table(path, required=["patient", "split"]):
        patient, part = row.values["patient"], row.values["split"]
        if part not in _PARTS:
            raise SplitError(
                f"split {str(path)!r}, line {row.line}: split must be train or test, got {part!r}."
            )
        if split.setdefault(patient, cast("Part", part)) != part:
            raise SplitError(
                f"split {str(path)!r}, line {row.line}: patient {patient!r} is in both train and "
                "test; a leaked patient makes every figure wrong. Keep one of the lines."
            )
    return split


def write_split(path: Path, split: Split) -> None:
    """Write a split table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["patient", "split"])
    writer.writerows(sorted(split.items()))
    write_text(path, text.getvalue())


def check_split(split: Split, patients: Sequence[str], *, where: str) -> None:
    """Refuse a split that leaves a patient of the store out.

    Raises:
        SplitError: naming the first patient that has no part.
    """
    missing = sorted(set(patients) - split.keys())
    if missing:
        raise SplitError(
            f"split {where!r} must name every patient of the store, got no part for {missing[0]!r} "
            f"({len(missing)} missing); add them as train or test{_strangers(split, patients)}."
        )


def require_part(part: Part, split: Split, patients: Sequence[str], *, where: str) -> None:
    """Refuse a split that leaves a part of the store empty; a patient never seen is test.

    Raises:
        SplitError: no patient of the store is in `part`.
    """
    if all(split.get(patient, "test") != part for patient in patients):
        raise SplitError(
            f"split {where!r} must leave the {part} part a patient of the store, got none of "
            f"{len(set(patients))}; give another split{_strangers(split, patients)}."
        )


def strangers_note(split: Split, patients: Sequence[str], *, where: str) -> str | None:
    """Say which patients of a split the store does not have; None where it has them all.

    That is no error: one table may serve several stores.
    """
    strangers = _strangers(split, patients)
    return f"note on split {where!r}{strangers}." if strangers else None


def untested_note(split: Split, patients: Sequence[str]) -> str | None:
    """Say that no patient of the store is kept for the test; None where one is.

    That is no error: what is pretrained here may be tested on another store.
    """
    if any(split.get(patient, "test") == "test" for patient in patients):
        return None
    return (
        f"note: none of the {len(set(patients))} patients is kept for the test, so that every test "
        "on one of them will be transductive."
    )


def leak_note(split: Split, patients: Sequence[str], *, what: str) -> str | None:
    """Say which patients that are kept for the test were used before; None where none was.

    Args:
        split: the part of each patient.
        patients: whom was looked at before.
        what: by what, as "the policy was fitted to".
    """
    leaked = sorted(patient for patient in set(patients) if split.get(patient, "test") == "test")
    if not leaked:
        return None
    return (
        f"note: {what} {len(leaked)} patients who are kept for the test, as "
        f"{leaked[0]!r}, so that every test on one of them will be transductive."
    )


def _strangers(split: Split, patients: Sequence[str]) -> str:
    """Return the end of a sentence on a split, empty where the store has all its patients."""
    strangers = sorted(split.keys() - set(patients))
    if not strangers:
        return ""
    shown = ", ".join(map(repr, strangers[:3])) + (", ..." if len(strangers) > 3 else "")
    said = f": {len(strangers)} of its {len(split)} patients are not in the store ({shown})"
    own = {_spelling(patient): patient for patient in patients}
    for stranger in strangers:
        if _spelling(stranger) in own:
            twin = own[_spelling(stranger)]
            said += f"; {stranger!r} differs from the store's {twin!r} only in its spelling"
            return f"{said} (case, spaces or leading zeros)"
    return said


def _spelling(patient: str) -> str:
    """Return what is left of a name without the case, spaces and leading zeros of it."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", "".join(patient.split()).casefold())


def is_in(part: Part, patient_N: npt.NDArray[np.str_], split: Split) -> npt.NDArray[np.bool_]:
    """Tell for each tile whether its patient is in `part`; a patient never seen is test."""
    members = {name: split.get(name, "test") == part for name in np.unique(patient_N).tolist()}
    return np.array([members[name] for name in patient_N.tolist()], dtype=np.bool_)


def require_labels(label_N: npt.NDArray[np.int64], *, what: str) -> None:
    """Refuse to train or test on labels of fewer than two classes.

    Raises:
        LabelError: saying which part lacks them.
    """
    n_classes = len(np.unique(label_N[label_N >= 0]))
    if n_classes < 2:
        raise LabelError(
            f"{what} must have labels of at least 2 classes, got {n_classes}; tile with "
            "--annotations or a labels.csv, or give --label-table."
        )
