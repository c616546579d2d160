"""Previews of the slides of a store: what tiling kept of each, what it left out, and why.

Needs no torch, so that `medsimclr tile --preview` starts and ends quickly.
"""

from collections.abc import Collection
from pathlib import Path

from medsimclr.errors import ConfigError
from medsimclr.report.picture_files import save_figure
from medsimclr.report.preview import preview_figure
from medsimclr.store.reader import TileStore
from medsimclr.store.schema import LEFT_OUT_REASONS

__all__ = ["draw_preview", "draw_previews", "find_slide"]

_REASON_NAMES = {
    "tissue": "no tissue",
    "ink": "ink",
    "blank": "blank",
    "focus": "out of focus",
}


def draw_preview(store: TileStore, slide_id: str, out: Path) -> None:
    """Draw the areas and the tiles of a slide, and save the picture.

    Raises:
        ConfigError: the store has no such slide, or it is no whole-slide image.
        OutputError: the picture cannot be written.
    """
    _draw(store, find_slide(store, slide_id), out)


def draw_previews(
    store: TileStore, folder: Path, *, only: Collection[str] | None = None
) -> list[Path]:
    """Draw every slide that has an overview to `<folder>/<slide_id>.png`; return the pictures.

    Args:
        store: the tile store.
        folder: made where it is not there.
        only: the slides to draw; all where it is None.

    Raises:
        OutputError: a picture cannot be written.
    """
    drawn = []
    for index, slide in enumerate(store.slides):
        is_asked = only is None or slide.slide_id in only
        if is_asked and "thumbnail" in slide.pictures:
            out = folder / f"{slide.slide_id}.png"
            _draw(store, index, out)
            drawn.append(out)
    return drawn


def find_slide(store: TileStore, slide_id: str) -> int:
    """Return the index of a slide that can be drawn on.

    Raises:
        ConfigError: the store has no such slide, or it is no whole-slide image.
    """
    ids = [slide.slide_id for slide in store.slides]
    if slide_id not in ids:
        shown = ", ".join(ids[:8]) + (", ..." if len(ids) > 8 else "")
        raise ConfigError(f"unknown slide {slide_id!r}; the store has {shown}.")
    index = ids.index(slide_id)
    if "thumbnail" not in store.slides[index].pictures:
        raise ConfigError(f"slide {slide_id!r} is a set of images and has no overview to draw on.")
    return index


def _draw(store: TileStore, slide_index: int, out: Path) -> None:
    slide = store.slides[slide_index]
    assert slide.dimensions_level0_xy is not None
    assert slide.tile_level0_px is not None
    left_out_level0_xy_M2, left_out_reason_M = store.slide_left_out(slide_index)
    figure = preview_figure(
        store.picture(slide_index, "thumbnail"),
        areas_HW=store.picture(slide_index, "mask"),
        level0_xy_N2=store.slide_table(slide_index, "level0_xy"),
        tile_level0_px=slide.tile_level0_px,
        dimensions_level0_xy=slide.dimensions_level0_xy,
        label_N=store.slide_table(slide_index, "label"),
        class_names=store.meta.classes,
        left_out_level0_xy_M2=left_out_level0_xy_M2,
        left_out_reason_M=left_out_reason_M,
        reason_names=[_REASON_NAMES[reason] for reason in LEFT_OUT_REASONS],
    )
    save_figure(figure, out)
