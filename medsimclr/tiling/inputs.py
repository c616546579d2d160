"""From what the user names to tile sources."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medsimclr.config.tile import TileConfig
from medsimclr.errors import ConfigError, LabelError, NoInputError
from medsimclr.files.table import Row, read_table
from medsimclr.slides.annotations.reading import ANNOTATION_SUFFIXES, read_annotation
from medsimclr.slides.opening import find_slides, slide_id_of
from medsimclr.tiling.cifar10 import CIFAR10_CLASSES, Cifar10File
from medsimclr.tiling.cut import Cut, Limits
from medsimclr.tiling.image_folder import image_groups
from medsimclr.tiling.slide_source import SlideSource
from medsimclr.tiling.source import TileSource

__all__ = ["Inputs", "find_inputs"]


@dataclass(frozen=True)
class Inputs:
    """All sources of one store, the classes that their labels use, and what is worth saying."""

    sources: list[TileSource]
    classes: list[str]
    notes: list[str]


def find_inputs(config: TileConfig) -> Inputs:
    """Tell apart CIFAR-10 files, folders with a labels.csv, and slides.

    Raises:
        NoInputError: an input does not exist, or nothing was found.
        ConfigError: kinds are mixed, two slides share a name, --mpp is missing for slides, or ink
            or blank is limited for images, which have no overview.
        LabelError: a table or an annotation is wrong.
    """
    for path in config.inputs:
        if not os.path.lexists(path):
            raise NoInputError(
                f"input {str(path)!r} must be a file or folder, got nothing there; check the path."
            )
    cifar_files = [file for path in config.inputs for file in _cifar_files(path)]
    folders = [path for path in config.inputs if (path / "labels.csv").is_file()]
    slide_inputs = [
        path for path in config.inputs if path not in folders and not _cifar_files(path)
    ]
    if sum(map(bool, (cifar_files, folders, slide_inputs))) > 1:
        raise ConfigError(
            "inputs must be of one kind (slides, folders with labels.csv, or CIFAR-10 files), got "
            f"{', '.join(repr(str(path)) for path in config.inputs)}; write one store for each."
        )
    if cifar_files or folders:
        _check_limits_of_images(config)
    if cifar_files:
        sources = [
            Cifar10File(path=path, tile_px=config.tile_px, min_focus=config.min_focus)
            for path in cifar_files
        ]
        return _checked(sources, list(CIFAR10_CLASSES), [])
    if folders:
        groups = [
            group
            for folder in folders
            for group in image_groups(
                folder / "labels.csv",
                cut=Cut.of(config, target_mpp=config.mpp or 1.0),
                has_scale=config.mpp is not None,
                source_mpp=config.source_mpp,
                slide_column=config.slide_column,
                min_focus=config.min_focus,
            )
        ]
        classes = sorted({name for group in groups for name in group.classes})
        shared = [replace(group, classes=tuple(classes)) for group in groups]
        return _checked(shared, classes, [])
    return _slides(config, slide_inputs)


def _check_limits_of_images(config: TileConfig) -> None:
    for name in ("max_ink", "max_blank"):
        share = getattr(config, name)
        if share < 1:
            raise ConfigError(
                f"--{name.replace('_', '-')} must stay 1 for folders with labels.csv and CIFAR-10, "
                f"got {share:g}: it is measured on the overview of a slide, which images lack."
            )


def _slides(config: TileConfig, paths: Sequence[Path]) -> Inputs:
    if config.mpp is None:
        raise ConfigError(
            "--mpp must say at which scale slides are cut, got none; 0.5 um/px (20x) is usual for "
            "H&E, 0.25 (40x) where nuclei matter."
        )
    slides = find_slides(paths)
    ids = [slide_id_of(path) for path in slides]
    annotations = _annotations(config.annotations, ids)
    rows = _slide_rows(config.slides_csv, slides)
    names_of = {path.name: set(read_annotation(path)) for path in annotations.values()}
    classes = sorted(set().union(*names_of.values()))
    sources = []
    for path, slide_id in zip(slides, ids, strict=True):
        row = rows.get(slide_id)
        row_mpp = _row_mpp(config.slides_csv, row)
        sources.append(
            SlideSource(
                path=path,
                cut=Cut.of(config, target_mpp=config.mpp),
                limits=Limits.of(config),
                classes=tuple(classes),
                given_mpp=row_mpp or config.source_mpp,
                given_mpp_source="slides.csv" if row_mpp else "--source-mpp",
                annotation=annotations.get(slide_id),
                patient=row.get("patient") if row else None,
                centre=row.get("centre") if row else None,
                alias=_alias(config.slides_csv, row),
            )
        )
    notes = _patient_notes(config, ids, rows)
    if bare := [name for name in ids if config.annotations is not None and name not in annotations]:
        notes.append(f"{len(bare)} of {len(ids)} slides have no annotation (first: {bare[0]!r}).")
    if idle := _idle_annotations(config.annotations, annotations):
        notes.append(f"{len(idle)} annotations name no given slide (first: {idle[0]!r}).")
    if unnamed := [file_name for file_name, names in names_of.items() if not names]:
        notes.append(
            f"{len(unnamed)} of {len(names_of)} annotations hold no area that has a class (first: "
            f"{unnamed[0]!r})."
        )
    return _checked(sources, classes, notes)


def _patient_notes(config: TileConfig, ids: Sequence[str], rows: dict[str, Row]) -> list[str]:
    """Say where slides.csv and the slides do not meet: a patient missed here may leak later."""
    if config.slides_csv is None:
        return ["no slides.csv: each slide counts as a patient of its own."]
    if not any(slide_id in rows for slide_id in ids):
        raise LabelError(
            f"table {str(config.slides_csv)!r} must name the given slides, got no row for any of "
            f"them; slides: {', '.join(ids[:5])}; rows: {', '.join(list(rows)[:5])}."
        )
    notes = []
    blank = [i for i in ids if i not in rows or not rows[i].get("patient")]
    if blank:
        notes.append(
            f"{len(blank)} of {len(ids)} slides have no patient in slides.csv (first: "
            f"{blank[0]!r}); each counts as a patient of its own."
        )
    lines = {row.line: row.values["slide"] for row in rows.values()}
    matched = {rows[i].line for i in ids if i in rows}
    unknown = [slide for line, slide in sorted(lines.items()) if line not in matched]
    if unknown:
        notes.append(
            f"{len(unknown)} rows of slides.csv name no given slide (first: {unknown[0]!r})."
        )
    return notes


def _annotations(folder: Path | None, slide_ids: Sequence[str]) -> dict[str, Path]:
    if folder is None:
        return {}
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() in ANNOTATION_SUFFIXES and not path.name.startswith("."):
            found.setdefault(slide_id_of(path), []).append(path)
    known = {slide_id: found[slide_id] for slide_id in slide_ids if slide_id in found}
    accepted = ", ".join(f"<slide>{suffix}" for suffix in ANNOTATION_SUFFIXES)
    if not known:
        raise LabelError(
            f"--annotations {str(folder)!r} must be a folder with {accepted} files for the given "
            f"slides, got {len(found)} such files and none that is named like a slide; slides: "
            f"{', '.join(slide_ids[:5])}."
        )
    for slide_id, (first, *others) in known.items():
        if others:
            raise LabelError(
                f"--annotations {str(folder)!r} must hold one file for each slide, of {accepted}, "
                f"got {first.name!r} and {others[0].name!r} for {slide_id!r}; remove one of them."
            )
    return {slide_id: path for slide_id, (path,) in known.items()}


def _idle_annotations(folder: Path | None, used: dict[str, Path]) -> list[str]:
    files = sorted(folder.iterdir()) if folder is not None else []
    return [
        path.name
        for path in files
        if path.suffix.lower() in ANNOTATION_SUFFIXES
        and not path.name.startswith(".")
        and path not in used.values()
    ]


def _slide_rows(table: Path | None, slides: Sequence[Path]) -> dict[str, Row]:
    if table is None:
        return {}
    id_of = {path.stem: slide_id_of(path) for path in slides}
    id_of |= {path.name: slide_id_of(path) for path in slides}
    rows: dict[str, Row] = {}
    table_rows = read_table(table, required=["slide"])
    if "patient" not in table_rows[0].values:
        raise LabelError(
            f"table {str(table)!r} must have the column 'patient', got the columns "
            f"{', '.join(map(repr, table_rows[0].values))}; without it slides of one patient could "
            "be trained and tested on. Repeat the slide's name where each is a patient of its own."
        )
    for row in table_rows:
        # A cell may be the slide's file name, its stem, or its name in the store.
        cell = row.values["slide"]
        slide_id = id_of.get(cell, cell)
        earlier = rows.setdefault(slide_id, row)
        if {**earlier.values, "slide": ""} != {**row.values, "slide": ""}:
            raise LabelError(
                f"table {str(table)!r}, line {row.line}: slide {cell!r} is already in line "
                f"{earlier.line} with other values; keep one of them."
            )
    return rows


def _row_mpp(table: Path | None, row: Row | None) -> float | None:
    text = row.get("mpp") if row else None
    try:
        mpp = float(text) if text else None
    except ValueError:
        mpp = float("nan")
    if mpp is not None and not 0.01 <= mpp <= 100:
        assert row is not None
        raise LabelError(
            f"table {str(table)!r}, line {row.line}: mpp must be a number from 0.01 to 100 um/px, "
            f"got {text!r}."
        )
    return mpp


def _alias(table: Path | None, row: Row | None) -> str | None:
    alias = row.get("alias") if row else None
    # A folder "zarr.json" would take the place of the store's own.
    if alias is not None and (slide_id_of(Path(alias + ".x")) != alias or alias == "zarr.json"):
        assert row is not None
        raise LabelError(
            f"table {str(table)!r}, line {row.line}: alias must be 1 to 64 of the characters "
            f"A-Z a-z 0-9 . _ -, got {alias!r}."
        )
    return alias


def _cifar_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".bin" else []
    return sorted([*path.glob("data_batch_*.bin"), *path.glob("test_batch.bin")])


def _checked(sources: Sequence[TileSource], classes: list[str], notes: list[str]) -> Inputs:
    # Case folded: a store copied to a case-blind file system would merge "A1" with "a1".
    count = Counter(source.slide_id.casefold() for source in sources)
    alike = [s.slide_id for s in sources if count[s.slide_id.casefold()] > 1]
    if alike:
        first, second = [name for name in alike if name.casefold() == alike[0].casefold()][:2]
        raise ConfigError(
            f"slide names must differ by more than case, got {first!r} and {second!r}; rename one "
            "of them."
        )
    return Inputs(sources=list(sources), classes=classes, notes=notes)
