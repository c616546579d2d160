"""The labelled tiles that policies are compared on: who is trained on, tested on and never seen."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medsimclr.config.compare import PolicyCompareConfig
from medsimclr.data.split import Part, Split, draw_fold, is_in, require_labels
from medsimclr.data.tile_index import TileIndex, patients_of
from medsimclr.errors import ConfigError
from medsimclr.training.finetune import label_tiles
from medsimclr.training.material import Material, open_material

__all__ = ["Cohort", "open_cohort"]

# Chosen here: enough folds for a probe, and parts that are not only the rim of a slide.
_PARTS_OF_SLIDE = 3
# Chosen here: with two patients of different organs a probe learns the organ and names the other
# centre, far below guessing.
_PATIENTS_OF_CENTRE = 4


@dataclass(frozen=True)
class Cohort:
    """A store, and what of it is never seen."""

    material: Material
    tiles: TileIndex
    """All tiles of the store, labelled or not."""
    centre_N: npt.NDArray[np.str_]
    """Centre of each tile, empty where it is not known."""
    classes: list[str]
    unseen_centre: str | None
    unseen: Material | None
    unseen_tiles: TileIndex | None
    """Labelled tiles of the store never seen."""

    @cached_property
    def is_unseen_N(self) -> npt.NDArray[np.bool_]:
        """Whether each tile is of the centre never seen."""
        if self.unseen_centre is None:
            return np.zeros(len(self.tiles), dtype=np.bool_)
        return np.asarray(self.centre_N == self.unseen_centre)

    @cached_property
    def readable_centres(self) -> list[str]:
        """Centres of four patients or more, which can be read from patients never seen."""
        return [
            centre
            for centre in sorted(set(self.centre_N.tolist()) - {""})
            if len(np.unique(self.tiles.patient_N[self.centre_N == centre])) >= _PATIENTS_OF_CENTRE
        ]

    @property
    def read_from_features(self) -> str:
        """What is read: "centre" where two have four patients each, else "patient"."""
        return "centre" if len(self.readable_centres) > 1 else "patient"

    def groups_and_units(self) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_]]:
        """Return what is read from the features of each tile, and what is kept on one side.

        What is read is empty for a tile that takes no part.

        Centres are read from patients never seen. Patients are read from another third of their
        slides, in reading order, so that it is no neighbouring tissue that is recognised.
        """
        if self.read_from_features == "centre":
            is_readable_N = np.isin(self.centre_N, self.readable_centres)
            return np.where(is_readable_N, self.centre_N, ""), self.tiles.patient_N
        n_tiles_N = np.bincount(self.tiles.slide_N)[self.tiles.slide_N]
        part_N = self.tiles.row_N * _PARTS_OF_SLIDE // n_tiles_N
        unit_N = np.char.add(np.char.mod("%d/", self.tiles.slide_N), np.char.mod("%d", part_N))
        return self.tiles.patient_N, unit_N

    def split(self, *, n_folds: int, seed: int) -> dict[str, Part]:
        """Draw training and test patients; those of the centre never seen are in the test part.

        Raises:
            ConfigError: a patient is of the centre never seen and of another.
            SplitError: there are fewer patients than folds.
            LabelError: a part lacks labels of two classes.
        """
        # Every fold gets of every centre: else a seed would train on the stain of one.
        _, centre_N = np.unique(self.centre_N, return_inverse=True)
        label_N = self.tiles.label_N
        stratum_N = np.where(label_N < 0, -1, centre_N * len(self.classes) + label_N)
        drawn = draw_fold(
            self.tiles.patient_N[~self.is_unseen_N],
            stratum_N[~self.is_unseen_N],
            n_folds=n_folds,
            seed=seed,
        )
        unseen = np.unique(self.tiles.patient_N[self.is_unseen_N]).tolist()
        both = sorted(set(unseen) & drawn.keys())
        if both:
            raise ConfigError(
                f"--unseen-centre {self.unseen_centre!r} must share no patient with other centres, "
                f"got {both[0]!r} in both; give such slides one centre in slides.csv."
            )
        split: dict[str, Part] = {**drawn, **dict.fromkeys(unseen, "test")}
        for name, chosen_N in self.parts(split).items():
            require_labels(self.tiles.label_N[chosen_N], what=f"the {name} tiles of seed {seed}")
        return split

    def n_tested(self, split: Split) -> tuple[int, int]:
        """Return the number of test patients and of their labelled tiles, the unseen left out."""
        is_tested_N = self.parts(split)["test"]
        return len(np.unique(self.tiles.patient_N[is_tested_N])), int(is_tested_N.sum())

    def parts(self, split: Split) -> dict[str, npt.NDArray[np.bool_]]:
        """Return which labelled tiles are "train", "test" and, of the centre so named, "unseen"."""
        is_labelled_N = self.tiles.label_N >= 0
        is_train_N = is_in("train", self.tiles.patient_N, split)
        parts = {
            "train": is_labelled_N & is_train_N,
            "test": is_labelled_N & ~is_train_N & ~self.is_unseen_N,
        }
        return (
            parts
            if self.unseen_centre is None
            else {**parts, "unseen": is_labelled_N & self.is_unseen_N}
        )


def open_cohort(config: PolicyCompareConfig) -> Cohort:
    """Open the stores of a comparison.

    Raises:
        ConfigError: the centre is not in the store, or the stores' tiles differ.
        LabelError: a store lacks labels or classes.
    """
    material = open_material(config.store)
    tiles, classes = label_tiles(material, None, None)
    require_labels(tiles.label_N, what=f"the tiles of {str(config.store)!r}")
    centres = [slide.centre or "" for slide in material.store.slides]
    known = sorted(set(centres) - {""})
    if config.unseen_centre is not None and config.unseen_centre not in known:
        raise ConfigError(
            f"--unseen-centre must be a centre of {str(config.store)!r}, got "
            f"{config.unseen_centre!r}; it has {', '.join(known) or 'none, see --slides-csv'}."
        )
    unseen = open_material(config.unseen_store) if config.unseen_store else None
    return Cohort(
        material=material,
        tiles=tiles,
        centre_N=np.array(centres, dtype=np.str_)[tiles.slide_N],
        classes=classes,
        unseen_centre=config.unseen_centre,
        unseen=unseen,
        unseen_tiles=_labelled(material, unseen, classes) if unseen else None,
    )


def _labelled(material: Material, unseen: Material, classes: list[str]) -> TileIndex:
    ours, theirs = material.store.meta, unseen.store.meta
    if (ours.tile_px, ours.mpp) != (theirs.tile_px, theirs.mpp):
        raise ConfigError(
            f"--unseen-store must have tiles of {ours.tile_px} px at {ours.mpp} um/px like --store,"
            f" got {theirs.tile_px} px at {theirs.mpp} um/px; tile it again."
        )
    both = sorted(set(patients_of(material.store)) & set(patients_of(unseen.store)))
    if both:
        raise ConfigError(
            f"--unseen-store must hold patients that --store does not have, got {both[0]!r} in "
            f"both ({len(both)} such patients), who would not be unseen; give another store."
        )
    tiles, _ = label_tiles(unseen, None, classes)
    tiles = tiles.select(tiles.label_N >= 0)
    require_labels(tiles.label_N, what=f"the tiles of {str(unseen.store.path)!r}")
    return tiles
