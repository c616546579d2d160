"""Fit a policy to the slides of a store: the statistics that it draws from.

A policy that can be fitted has a classmethod `fit(slides)`, which takes name and tiles (N, H, W, 3)
of one slide after the other and returns fields to set. What is fitted on is part of the training:
statistics of test patients leak.
"""

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsimclr.augment.contract import first_line
from medsimclr.augment.discovery import load_policy
from medsimclr.config.base import dump_toml
from medsimclr.data.split import check_split, read_split, require_part
from medsimclr.data.tile_index import patients_of
from medsimclr.errors import MedSimCLRError, NoInputError, PolicyError
from medsimclr.store.reader import TileStore

__all__ = ["FittedPolicy", "fit_policy", "spread_rows", "training_slides"]

Slides = Iterable[tuple[str, npt.NDArray[np.uint8]]]
Fit = Callable[[Slides], object]


@dataclass(frozen=True)
class FittedPolicy:
    """A fitted policy as text, and what it was fitted to."""

    toml: str
    """`policy`, `policy_options` and `policy_fitted_on`, as a training takes them."""
    n_slides: int
    n_tiles: int


def fit_policy(
    spec: str,
    store: TileStore,
    *,
    slide_indices: list[int],
    options: Mapping[str, object],
    n_tiles: int,
    seed: int,
) -> FittedPolicy:
    """Fit a policy to tiles of some slides, and load it with what came out.

    One slide at a time is in memory.

    Args:
        spec: names the policy, as `load_policy` takes it.
        store: where the slides are.
        slide_indices: the slides to fit to.
        options: further fields to set; what is fitted wins.
        n_tiles: tiles of each slide, at most.
        seed: chooses the tiles.

    Raises:
        PolicyError: the policy cannot be fitted, or not to these slides, or does not take what its
            own fit returned.
        NoInputError: none of the slides has a tile.
    """
    fit = _fit_of(spec, options)
    chosen = {
        index: spread_rows(store.slides[index].n_tiles, n_tiles, seed=(seed, index))
        for index in slide_indices
        if store.slides[index].n_tiles > 0
    }
    if not chosen:
        raise NoInputError(
            f"store {str(store.path)!r} must hold a tile to fit {spec!r} to, got none in "
            f"{len(slide_indices)} slides; run `medsimclr tile` again and read its report."
        )
    try:
        fitted = fit(_tiles_of(store, chosen))
    except MedSimCLRError:
        raise
    except Exception as error:
        # ValueError is what the contract lets it raise; a stranger's code may raise anything.
        raise PolicyError(
            f"augmentation policy {spec!r} cannot be fitted to {len(chosen)} slides of "
            f"{str(store.path)!r}: {first_line(error)} Give slides of its own domain, or "
            "mend its fit."
        ) from error
    patients = patients_of(store)
    fitted_on = sorted({patients[index] for index in chosen})
    toml = _checked_toml(spec, options, fitted, fitted_on=fitted_on)
    return FittedPolicy(
        toml=toml, n_slides=len(chosen), n_tiles=sum(len(rows) for rows in chosen.values())
    )


def training_slides(store: TileStore, split: Path | None) -> list[int]:
    """Return the slides of training patients; without a split all of them.

    Raises:
        SplitError: the split leaves out a patient of the store, or all from the training.
    """
    patients = patients_of(store)
    if split is None:
        return list(range(len(patients)))
    part_of = read_split(split)
    check_split(part_of, patients, where=str(split))
    require_part("train", part_of, patients, where=str(split))
    return [index for index, patient in enumerate(patients) if part_of[patient] == "train"]


def spread_rows(n_rows: int, n_chosen: int, *, seed: tuple[int, ...]) -> list[int]:
    """Choose rows evenly: one at random of each of as many equal stretches, in rising order."""
    n_chosen = min(n_rows, n_chosen)
    # In integers: every row is in one stretch, so that n_rows of n_rows are all.
    bounds = np.arange(n_chosen + 1) * n_rows // n_chosen
    rows: list[int] = np.random.default_rng(seed).integers(bounds[:-1], bounds[1:]).tolist()
    return rows


def _tiles_of(
    store: TileStore, chosen: Mapping[int, list[int]]
) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    for index, rows in chosen.items():
        yield store.slides[index].slide_id, store.read_tiles([index] * len(rows), rows)


def _fit_of(spec: str, options: Mapping[str, object]) -> Fit:
    policy = load_policy(spec, options=options)
    fit: Fit | None = getattr(type(policy), "fit", None)
    if not callable(fit):
        raise PolicyError(
            f"augmentation policy {spec!r} has nothing to fit: {type(policy).__name__} must have "
            "a classmethod fit(slides) for that; use the policy as it is."
        )
    return fit


def _checked_toml(
    spec: str, options: Mapping[str, object], fitted: object, *, fitted_on: list[str]
) -> str:
    """Write the fields as TOML, read them back and load the policy with them."""
    if not isinstance(fitted, Mapping):
        raise PolicyError(
            f"fit of augmentation policy {spec!r} must return a dictionary of fields, got "
            f"{fitted!r}."
        )
    try:
        toml = dump_toml(
            {
                "policy": spec,
                "policy_options": {**options, **fitted},
                "policy_fitted_on": fitted_on,
            }
        )
    except (TypeError, ValueError) as error:
        raise PolicyError(
            f"fit of augmentation policy {spec!r} must return fields that TOML can hold: "
            f"{first_line(error)} Use numbers, strings, lists and dictionaries of these."
        ) from error
    read: dict[str, Any] = tomllib.loads(toml)
    load_policy(spec, options=read["policy_options"])
    return toml
