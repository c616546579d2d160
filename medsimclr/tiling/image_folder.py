"""Tiles of a folder of labelled images: labels.csv names image, label, and what belongs together.

Columns: image (relative to the table); optionally label, patient, centre, mpp, and the slide, which
is the first of `slide`, `group` and `patient` that is there. Without any, every image is its own,
named in the store by its path with "_" for "/", so that reports say which image is meant.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from medsimclr.errors import LabelError, SlideError
from medsimclr.files.checksum import sha256_of_file, sha256_of_value
from medsimclr.files.table import Row, read_table
from medsimclr.slides.opening import open_slide, slide_id_of
from medsimclr.slides.scale import Scale
from medsimclr.tiling.cut import Cut
from medsimclr.tiling.grid import grid_xy, to_level0_xy
from medsimclr.tiling.reading import ReadingPlan, plan_reading, read_tiles
from medsimclr.tiling.source import Alive, SlideTiles, as_tiles, no_tiles

__all__ = ["ImageGroup", "LabelledImage", "image_groups"]

Value = TypeVar("Value")
Resampling = Literal["none", "area", "dct", "linear"]
_BY_STRENGTH: tuple[Resampling, ...] = ("area", "dct", "linear", "none")
_SLIDE_COLUMNS = ("slide", "group", "patient")


@dataclass(frozen=True)
class LabelledImage:
    """One row of labels.csv."""

    path: Path
    name: str
    label: str | None
    mpp: float | None


@dataclass(frozen=True, kw_only=True)
class ImageGroup:
    """The images of one slide, with the patient that they come from."""

    slide_id: str
    patient: str | None
    centre: str | None
    images: tuple[LabelledImage, ...]
    classes: tuple[str, ...]
    cut: Cut
    has_scale: bool
    """Whether a scale was asked; without one images keep their own pixels."""
    min_focus: float = 0.0
    is_isolated: bool = True

    def inputs(self) -> dict[str, str]:
        """Return one digest over all images, names, labels and scales of the group."""
        return self._inputs([sha256_of_file(image.path) for image in self.images])

    def _inputs(self, digests: Sequence[str]) -> dict[str, str]:
        images = [
            [image.name, image.label, image.mpp, digest]
            for image, digest in zip(self.images, digests, strict=True)
        ]
        return {"sha256": sha256_of_value([self.patient, self.centre, images])}

    def open(self, alive: Alive) -> SlideTiles:
        """Lay the grid over every image, glass included; see `TileSource`."""
        parts, digests = [], []
        for image in self.images:
            parts.append(self._grid(image))
            digests.append(sha256_of_file(image.path))
            alive()
        level0_xy_N2 = np.concatenate(
            [to_level0_xy(xy_N2, level0_per_px=plan.level0_px_per_px) for plan, xy_N2 in parts]
        )
        if len(level0_xy_N2) == 0:
            raise no_tiles(self.slide_id, f"its images are smaller than {self.cut.tile_px} px")
        index_N = np.concatenate([np.full(len(xy), i) for i, (_, xy) in enumerate(parts)])
        of_image = np.array(
            [-1 if i.label is None else self.classes.index(i.label) for i in self.images]
        )
        plans = [plan for plan, _ in parts]
        return SlideTiles(
            facts={
                "slide_id": self.slide_id,
                "patient": self.patient,
                "centre": self.centre,
                "vendor": "images",
                "mpp": _same([image.mpp for image in self.images]),
                "mpp_source": "labels.csv or --source-mpp" if self.has_scale else None,
                "dimensions_level0_xy": None,
                "tile_level0_px": None,
                "level": _same([plan.choice.level for plan in plans]),
                "level_mpp": _same([p.choice.level_mpp for p in plans]) if self.has_scale else None,
                "tile_mpp": _same([plan.tile_mpp for plan in plans]) if self.has_scale else None,
                "resampling": _strongest([plan.resampling for plan in plans]),
                "reading": _same([plan.reading for plan in plans]),
                "source": self._inputs(digests),
                "images": digests,
            },
            tables={
                "level0_xy": level0_xy_N2,
                "tissue": np.ones(len(level0_xy_N2), np.float32),
                "label": of_image[index_N],
                "image_index": index_N,
            },
            tiles=as_tiles(
                self._read(parts, alive), slide_id=self.slide_id, min_focus=self.min_focus
            ),
        )

    def _grid(self, image: LabelledImage) -> tuple[ReadingPlan, npt.NDArray[np.int64]]:
        if self.has_scale and image.mpp is None:
            raise SlideError(
                f"image {image.name!r} must have a scale to be cut at {self.cut.target_mpp:g} "
                "um/px, got none; add an mpp column to labels.csv, give --source-mpp, or leave out "
                "--mpp to keep the images' own pixels."
            )
        own_mpp = image.mpp if self.has_scale else None
        scale = Scale(mpp=own_mpp or self.cut.target_mpp, source="--source-mpp")
        with open_slide(image.path, reader=self.cut.reader) as slide:
            plan = plan_reading(slide, scale, {}, cut=self.cut)
            width, height = slide.level_dimensions_xy[plan.choice.level]
        size_xy = (width / plan.level_px_per_px, height / plan.level_px_per_px)
        cut = self.cut
        return plan, grid_xy(size_xy, tile_px=cut.tile_px, step_px=cut.step_px, edge=cut.edge)

    def _read(
        self, parts: Sequence[tuple[ReadingPlan, npt.NDArray[np.int64]]], alive: Alive
    ) -> Iterator[npt.NDArray[np.uint8]]:
        for image, (plan, xy_N2) in zip(self.images, parts, strict=True):
            with open_slide(image.path, reader=self.cut.reader) as slide:
                alive()
                for pixels in read_tiles(slide, plan, None, xy_N2):
                    assert not isinstance(pixels, bytes)
                    yield pixels


def image_groups(
    table: Path,
    *,
    cut: Cut,
    has_scale: bool,
    source_mpp: float | None,
    slide_column: str | None,
    min_focus: float,
) -> list[ImageGroup]:
    """Read labels.csv and group its images by slide.

    Raises:
        LabelError: the table is wrong, names an image that is not there, or gives one slide two
            patients or centres.
    """
    rows = read_table(table, required=["image"] + ([slide_column] if slide_column else []))
    column = slide_column or next((c for c in _SLIDE_COLUMNS if c in rows[0].values), None)
    classes = tuple(sorted({label for row in rows if (label := row.get("label"))}))
    by_slide: dict[str, list[Row]] = {}
    key_of: dict[str, str] = {}
    seen: dict[str, int] = {}
    for row in rows:
        name = row.values["image"]
        if name in seen:
            raise LabelError(
                f"table {str(table)!r}, line {row.line}: image {name!r} is already in line "
                f"{seen[name]}; keep one of them."
            )
        seen[name] = row.line
        if not (table.parent / name).is_file():
            raise LabelError(
                f"table {str(table)!r}, line {row.line}: image {name!r} must be a file beside the "
                "table, got none; correct the name or remove the line."
            )
        key = row.get(column) if column else name
        if not key:
            raise LabelError(
                f"table {str(table)!r}, line {row.line}: {column!r} is empty; say what the image "
                "belongs to, or images of one patient may be split."
            )
        slide_id = slide_id_of(Path(key.replace("/", "_") + ".x"))
        if key_of.setdefault(slide_id, key) != key:
            raise LabelError(
                f"table {str(table)!r}, line {row.line}: {key_of[slide_id]!r} and {key!r} would "
                f"both be slide {slide_id!r}; rename one of them."
            )
        by_slide.setdefault(slide_id, []).append(row)
    return [
        ImageGroup(
            slide_id=slide_id,
            patient=_one(table, group, "patient"),
            centre=_one(table, group, "centre"),
            images=tuple(_image(table, row, source_mpp=source_mpp) for row in group),
            classes=classes,
            cut=cut,
            has_scale=has_scale,
            min_focus=min_focus,
        )
        for slide_id, group in sorted(by_slide.items())
    ]


def _same(values: Sequence[Value]) -> Value | None:
    """Return what all images have in common, or None where they differ."""
    return values[0] if len(set(values)) == 1 else None


def _strongest(resamplings: Sequence[Resampling]) -> Resampling:
    """Return what was done to any image: area where some were averaged and others interpolated."""
    return next(how for how in _BY_STRENGTH if how in resamplings)


def _image(table: Path, row: Row, *, source_mpp: float | None) -> LabelledImage:
    text = row.get("mpp")
    try:
        mpp = float(text) if text else source_mpp
    except ValueError:
        mpp = float("nan")
    if mpp is not None and not 0.01 <= mpp <= 100:
        raise LabelError(
            f"table {str(table)!r}, line {row.line}: mpp must be a number from 0.01 to 100 um/px, "
            f"got {text!r}."
        )
    name = row.values["image"]
    return LabelledImage(path=table.parent / name, name=name, label=row.get("label"), mpp=mpp)


def _one(table: Path, rows: list[Row], column: str) -> str | None:
    values = {row.get(column) for row in rows}
    if len(values) > 1:
        raise LabelError(
            f"table {str(table)!r}, line {rows[-1].line}: one slide must have one {column}, got "
            f"{', '.join(sorted(map(repr, values)))}."
        )
    return values.pop()
