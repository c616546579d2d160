"""Tiles of a folder of labelled images: labels.csv names image, label, and what belongs together.

Columns: image (relative to the table); optionally label, patient, centre, mpp, and the slide, which
is the first of `slide`, `group` and `patient` that is there. Without any, every image is its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from medsimclr.errors import LabelError, SlideError
from medsimclr.files.checksum import sha256_of_file, sha256_of_value
from medsimclr.files.table import Row, read_table
from medsimclr.slides.opening import open_slide, slide_id_of
from medsimclr.slides.scale import choose_level
from medsimclr.tiling.grid import grid_level0_xy
from medsimclr.tiling.source import SlideTiles, batched, no_tiles

__all__ = ["ImageGroup", "LabelledImage", "image_groups"]

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
    target_mpp: float | None
    tile_px: int
    is_isolated: bool = False

    def inputs(self) -> dict[str, str]:
        """Return one digest over all images, names, labels and scales of the group."""
        images = [
            [image.name, image.label, image.mpp, sha256_of_file(image.path)]
            for image in self.images
        ]
        return {"sha256": sha256_of_value([self.patient, self.centre, images])}

    def open(self) -> SlideTiles:
        """Lay the grid over every image, glass included; see `TileSource`."""
        parts = [(index, *self._grid(image)) for index, image in enumerate(self.images)]
        level0_xy = np.concatenate([grid for _, grid, _ in parts])
        if len(level0_xy) == 0:
            raise no_tiles(self.slide_id, f"its images are smaller than {self.tile_px} px")
        image_index = np.concatenate([np.full(len(grid), index) for index, grid, _ in parts])
        of_image = np.array(
            [-1 if i.label is None else self.classes.index(i.label) for i in self.images]
        )
        return SlideTiles(
            facts={
                "slide_id": self.slide_id,
                "patient": self.patient,
                "centre": self.centre,
                "vendor": "images",
                "mpp": self._shared_mpp(),
                "mpp_source": "labels.csv or --source-mpp" if self.target_mpp else None,
                "dimensions_level0_xy": None,
                "tile_level0_px": None,
                "level": 0,
                "level_mpp": None,
                "resampling": "none" if self._is_native(parts) else "area",
                "source": self.inputs(),
                "images": [image.name for image in self.images],
            },
            tables={
                "level0_xy": level0_xy,
                "tissue": np.ones(len(level0_xy), np.float32),
                "label": of_image[image_index],
                "image_index": image_index,
            },
            batches=batched(self._read(parts)),
        )

    def _shared_mpp(self) -> float | None:
        scales = {image.mpp for image in self.images}
        return scales.pop() if len(scales) == 1 else None

    def _is_native(self, parts: list[tuple[int, npt.NDArray[np.int64], float]]) -> bool:
        return all(side == self.tile_px for _, _, side in parts)

    def _grid(self, image: LabelledImage) -> tuple[npt.NDArray[np.int64], float]:
        with open_slide(image.path) as slide:
            dimensions_xy = slide.dimensions_xy
        tile_level0_px = float(self.tile_px)
        if self.target_mpp is not None and image.mpp is not None:
            if choose_level([image.mpp], target_mpp=self.target_mpp).resampling != "none":
                tile_level0_px = self.tile_px * self.target_mpp / image.mpp
        elif self.target_mpp is not None:
            raise SlideError(
                f"image {image.name!r} must have a scale to be cut at {self.target_mpp:g} um/px, "
                "got none; add an mpp column to labels.csv, give --source-mpp, or leave out --mpp "
                "to keep the images' own pixels."
            )
        return grid_level0_xy(dimensions_xy, tile_level0_px=tile_level0_px), tile_level0_px

    def _read(
        self, parts: list[tuple[int, npt.NDArray[np.int64], float]]
    ) -> Iterator[npt.NDArray[np.uint8]]:
        size = (self.tile_px, self.tile_px)
        for index, grid, tile_level0_px in parts:
            side = round(tile_level0_px)
            how = cv2.INTER_AREA if side > self.tile_px else cv2.INTER_LINEAR
            with open_slide(self.images[index].path) as slide:
                for x, y in grid.tolist():
                    tile = slide.read_region((x, y), level=0, size_xy=(side, side))
                    if side != self.tile_px:
                        tile = np.asarray(cv2.resize(tile, size, interpolation=how), np.uint8)
                    yield tile


def image_groups(
    table: Path,
    *,
    tile_px: int,
    target_mpp: float | None,
    source_mpp: float | None,
    slide_column: str | None,
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
            target_mpp=target_mpp,
            tile_px=tile_px,
        )
        for slide_id, group in sorted(by_slide.items())
    ]


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
