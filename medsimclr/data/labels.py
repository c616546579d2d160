"""Labels from a table, and the choice of the few tiles that are labelled."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medsimclr.data.tile_index import TileIndex
from medsimclr.errors import LabelError
from medsimclr.files.table import Row, read_table

__all__ = ["apply_label_table", "choose_labelled", "keep_classes", "renumber"]


def apply_label_table(
    index: TileIndex, path: Path, *, slide_ids: Sequence[str], classes: Sequence[str]
) -> tuple[TileIndex, list[str]]:
    """Replace the store's labels by those of a table.

    Args:
        index: the tiles.
        path: table with the columns slide and label, and x and y (level-0 corner of the tile)
            where labels belong to tiles rather than slides.
        slide_ids: the store's slides, in its order.
        classes: the classes that labels may name; empty to take those of the table, sorted.

    Returns:
        The relabelled tiles, -1 where the table is silent, and the classes.

    Raises:
        LabelError: a slide, tile or class is unknown, or a tile gets two labels.
    """
    rows = read_table(path, required=["slide", "label"])
    names = list(classes) or sorted({row.values["label"] for row in rows})
    slide_of = {slide_id: position for position, slide_id in enumerate(slide_ids)}
    label_N = np.full(len(index), -1, np.int64)
    for row in rows:
        slide_id, label = row.values["slide"], row.values["label"]
        if slide_id not in slide_of:
            raise _unknown(path, row, "slide", slide_id, slide_ids)
        if label not in names:
            raise _unknown(path, row, "label", label, names)
        tiles = index.slide_N == slide_of[slide_id]
        if "x" in row.values:
            tiles &= (index.level0_xy_N2 == _xy(path, row)).all(axis=1)
            if not tiles.any():
                raise LabelError(
                    f"table {str(path)!r}, line {row.line}: slide {slide_id!r} has no tile at "
                    f"x {row.get('x')}, y {row.get('y')} (level-0 pixels)."
                )
        new = names.index(label)
        if ((label_N[tiles] >= 0) & (label_N[tiles] != new)).any():
            raise LabelError(
                f"table {str(path)!r}, line {row.line}: slide {slide_id!r} already has another "
                "label in an earlier line; keep one of them."
            )
        label_N[tiles] = new
    return replace(index, label_N=label_N), names


def keep_classes(
    index: TileIndex, names: Sequence[str], kept: Sequence[str]
) -> tuple[TileIndex, list[str]]:
    """Number the labels by the kept classes; tiles of other classes get label -1.

    Raises:
        LabelError: a kept class is unknown.
    """
    unknown = [name for name in kept if name not in names]
    if unknown:
        known = ", ".join(names) or "none (tile with --annotations or a labels.csv)"
        raise LabelError(f"unknown class {unknown[0]!r}; the labels have: {known}.")
    return renumber(index, names, kept), list(kept)


def renumber(index: TileIndex, names: Sequence[str], kept: Sequence[str]) -> TileIndex:
    """Number the labels by `kept` instead of `names`; a label that is not kept becomes -1."""
    new_of = np.array([kept.index(name) if name in kept else -1 for name in names] + [-1])
    return replace(index, label_N=new_of[index.label_N])


def choose_labelled(index: TileIndex, *, n_labels: int, seed: int) -> npt.NDArray[np.int64]:
    """Choose the tiles that get a label: classes evenly, and within a class patients in turn.

    Spreading over patients is what a lab would do, and gives far more than 500 tiles of one slide.

    Args:
        index: the tiles of the training patients.
        n_labels: how many to choose; all labelled tiles where there are fewer.
        seed: the same seed gives the same choice, and a smaller choice is part of a larger one.

    Returns:
        Positions in `index`, sorted.
    """
    rng = np.random.default_rng(seed)
    classes = np.unique(index.label_N[index.label_N >= 0])
    queues = [_patients_in_turn(index, int(label), rng) for label in classes]
    chosen: list[int] = []
    for turn in range(max((len(queue) for queue in queues), default=0)):
        for queue in queues:
            if turn < len(queue) and len(chosen) < n_labels:
                chosen.append(queue[turn])
    return np.sort(np.array(chosen, np.int64))


def _patients_in_turn(index: TileIndex, label: int, rng: np.random.Generator) -> list[int]:
    tiles = rng.permutation(np.flatnonzero(index.label_N == label))
    by_patient: dict[str, list[int]] = {}
    for tile in tiles.tolist():
        by_patient.setdefault(str(index.patient_N[tile]), []).append(tile)
    # Rounds: the first tile of every patient, then the second of every patient, and so on.
    ranked = [(turn, tile) for own in by_patient.values() for turn, tile in enumerate(own)]
    return [tile for _, tile in sorted(ranked, key=lambda pair: pair[0])]


def _xy(path: Path, row: Row) -> npt.NDArray[np.int64]:
    try:
        return np.array([int(row.values["x"]), int(row.values["y"])], np.int64)
    except (KeyError, ValueError) as error:
        raise LabelError(
            f"table {str(path)!r}, line {row.line}: x and y must be whole numbers (level-0 "
            f"pixels), got {row.get('x')!r} and {row.get('y')!r}."
        ) from error


def _unknown(path: Path, row: Row, what: str, value: str, known: Sequence[str]) -> LabelError:
    shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    return LabelError(
        f"table {str(path)!r}, line {row.line}: unknown {what} {value!r}; known: {shown}."
    )
