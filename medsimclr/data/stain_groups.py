"""The tiles of a store by who stained them: by centre; by patient or slide if none is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medsimclr.augment.geometric import resize_whole
from medsimclr.augment.macenko import tissue_density
from medsimclr.augment.stain_amount import mean_amounts
from medsimclr.data.policy_fit import spread_rows
from medsimclr.data.tile_index import patients_of
from medsimclr.errors import NoInputError
from medsimclr.store.reader import TileStore

__all__ = ["GroupKind", "StainGroup", "StainGroups", "stain_groups"]

GroupKind = Literal["centre", "patient", "slide"]

_GROUPS_MAX = 24
_NAMES_MAX = 8
_PIXELS_OF_TILE = 2048
_TISSUE_PIXELS_MIN = 200
_DARK_SHARE = 0.5
# Mean optical density of what is nearly black: brightfield has little of it, fluorescence much.
_DARK_OD = 2.5
_DARK_LEVEL = 255.0 * np.exp(-_DARK_OD)


@dataclass(frozen=True)
class StainGroup:
    """Tiles of one centre, patient or slide, those with tissue alone."""

    name: str
    n_slides: int
    tiles_NVV3: NDArray[np.uint8]
    """Whole tiles, resized to the side of a view."""
    amount_N3: NDArray[np.float64]
    """Mean haematoxylin, eosin and residual of each of these (`mean_amounts`)."""
    pixels_P3: NDArray[np.uint8]
    """Pixels at full resolution, glass included, spread over the tiles."""


@dataclass(frozen=True)
class StainGroups:
    """Two or more groups of one kind, by name."""

    kind: GroupKind
    groups: tuple[StainGroup, ...]
    n_smaller: int
    """Groups that were not looked at, since 24 others have more tiles."""
    without_tissue: tuple[str, ...]
    """Names of groups whose tiles show no stained tissue, or that have no tile."""
    without_group: tuple[str, ...]
    """Names of slides whose centre or patient is not known."""

    def left_out_notes(self) -> list[str]:
        """Say who is not compared, and why."""
        notes = []
        if self.n_smaller:
            notes.append(
                f"{_GROUPS_MAX} {self.kind}s with the most tiles were looked at, {self.n_smaller} "
                "others left out."
            )
        if self.without_tissue:
            notes.append(
                f"{len(self.without_tissue)} {self.kind}s without stained tissue are left out: "
                f"{_listed(self.without_tissue)}."
            )
        if self.without_group:
            notes.append(
                f"{len(self.without_group)} slides are left out, whose {self.kind} is not known: "
                f"{_listed(self.without_group)}."
            )
        return notes


def stain_groups(
    store: TileStore,
    *,
    slide_indices: Sequence[int],
    view_px: int,
    n_tiles: int,
    seed: int,
) -> StainGroups:
    """Read tiles of every centre, or of every patient or slide, of at most 24 with the most tiles.

    Slides without a centre are left out where others know two. One group at a time is in memory at
    full size.

    Args:
        store: where the slides are.
        slide_indices: the slides to look at.
        view_px: side to resize the tiles to, pixels.
        n_tiles: tiles of each group, at most, spread evenly over it.
        seed: chooses the tiles.

    Raises:
        NoInputError: the images are natural ones or fluorescence, or fewer than two groups have
            tissue.
    """
    where = f"store {str(store.path)!r}"
    if any(store.slides[index].unit == "tile" for index in slide_indices):
        raise NoInputError(
            f"{where} must hold stained slides to compare their stains, got natural images."
        )
    kind, slides_of, without_group = _grouped(store, slide_indices, where=where)
    sizes = {
        name: sum(store.slides[index].n_tiles for index in indices)
        for name, indices in slides_of.items()
    }
    largest = sorted(sorted(sizes, key=lambda name: (-sizes[name], name))[:_GROUPS_MAX])
    groups, is_dark, without_tissue = [], [], []
    for number, name in enumerate(largest):
        if sizes[name] == 0:
            without_tissue.append(name)
            continue
        tiles_NHW3 = _read(store, slides_of[name], n_tiles=n_tiles, seed=(seed, number))
        pixels_P3 = _pixels(tiles_NHW3)
        is_dark.append(float((pixels_P3.mean(axis=1) < _DARK_LEVEL).mean()) > _DARK_SHARE)
        group = _group(name, tiles_NHW3, pixels_P3, n_slides=len(slides_of[name]), view_px=view_px)
        if group is None:
            without_tissue.append(name)
        else:
            groups.append(group)
    _check(groups, is_dark, kind=kind, where=where)
    return StainGroups(
        kind=kind,
        groups=tuple(groups),
        n_smaller=len(slides_of) - len(largest),
        without_tissue=tuple(without_tissue),
        without_group=tuple(without_group),
    )


def _grouped(
    store: TileStore, slide_indices: Sequence[int], *, where: str
) -> tuple[GroupKind, dict[str, list[int]], list[str]]:
    """Return what the groups are, the slides of each, and the names of slides that are in none."""
    is_patient_known = any(slide.patient for slide in store.slides)
    names_of: dict[GroupKind, list[str | None]] = {
        "centre": [slide.centre for slide in store.slides],
        "patient": list(patients_of(store)) if is_patient_known else [None] * len(store.slides),
        "slide": [slide.slide_id for slide in store.slides],
    }
    for kind, names in names_of.items():
        slides_of: dict[str, list[int]] = {}
        without_group: list[str] = []
        for index in slide_indices:
            name = names[index]
            if name is not None:
                slides_of.setdefault(name, []).append(index)
            else:
                without_group.append(store.slides[index].slide_id)
        if len(slides_of) > 1:
            return kind, slides_of, without_group
    raise NoInputError(
        f"{where} must hold at least 2 slides to compare their stains, got {len(slide_indices)}; "
        "tile more slides, of several centres if you can, with a centre column in slides.csv."
    )


def _group(
    name: str,
    tiles_NHW3: NDArray[np.uint8],
    pixels_P3: NDArray[np.uint8],
    *,
    n_slides: int,
    view_px: int,
) -> StainGroup | None:
    """Keep the tiles with tissue; None where there is next to none."""
    tiles_NVV3 = np.stack([resize_whole(tile_HW3, view_px) for tile_HW3 in tiles_NHW3])
    amount_N3 = mean_amounts(tiles_NVV3)
    has_tissue_N = np.isfinite(amount_N3).all(axis=1)
    if not has_tissue_N.any() or len(tissue_density(pixels_P3)) < _TISSUE_PIXELS_MIN:
        return None
    return StainGroup(
        name=name,
        n_slides=n_slides,
        tiles_NVV3=tiles_NVV3[has_tissue_N],
        amount_N3=amount_N3[has_tissue_N],
        pixels_P3=pixels_P3,
    )


def _check(
    groups: Sequence[StainGroup], is_dark: Sequence[bool], *, kind: GroupKind, where: str
) -> None:
    if 2 * sum(is_dark) > len(is_dark):
        raise NoInputError(
            f"{where} must hold slides stained for bright light, got mostly black tiles of "
            f"{sum(is_dark)} of {len(is_dark)} {kind}s, as of fluorescence; its policy is "
            "`fluorescence`."
        )
    if len(groups) < 2:
        raise NoInputError(
            f"{where} must hold at least 2 {kind}s with stained tissue to compare, got "
            f"{len(groups)}; look at the tiles with `medsimclr policies show none`."
        )


def _read(
    store: TileStore, slide_indices: Sequence[int], *, n_tiles: int, seed: tuple[int, int]
) -> NDArray[np.uint8]:
    places = [(index, row) for index in slide_indices for row in range(store.slides[index].n_tiles)]
    chosen = [places[place] for place in spread_rows(len(places), n_tiles, seed=seed)]
    return store.read_tiles([index for index, _ in chosen], [row for _, row in chosen])


def _pixels(tiles_NHW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return some thousand pixels of every tile, from all over it."""
    pixels_NP3 = tiles_NHW3.reshape(len(tiles_NHW3), -1, 3)
    # Made odd, so that a power of two as the tile's side does not pick the same columns.
    step = max(1, pixels_NP3.shape[1] // _PIXELS_OF_TILE) | 1
    return pixels_NP3[:, ::step].reshape(-1, 3)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMES_MAX]) + (", ..." if len(names) > _NAMES_MAX else "")
