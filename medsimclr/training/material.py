"""What every training needs of its store: tiles, split, digest."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medsimclr.config.batch_from import BatchFrom
from medsimclr.config.training import TrainingConfig
from medsimclr.data.split import Part, check_split, is_in, require_part
from medsimclr.data.tile_index import TileIndex, index_tiles, patients_of
from medsimclr.data.unit_order import form_units
from medsimclr.errors import ConfigError
from medsimclr.files.checksum import sha256_of_value
from medsimclr.store.reader import TileStore
from medsimclr.training.networks import Network

__all__ = [
    "BatchUnits",
    "Material",
    "batch_units",
    "check_batch_size",
    "check_tiles_fit",
    "open_material",
    "patients_in",
]


@dataclass(frozen=True)
class Material:
    """A store that was opened and indexed."""

    store: TileStore
    index: TileIndex
    sha256: str

    def training_tiles(self, split: Mapping[str, Part], *, where: str) -> TileIndex:
        """Return the tiles of the training patients; `where` names the split in errors.

        Raises:
            SplitError: the split leaves out a patient of the store, or all from the training.
            ConfigError: it leaves a single tile to train on.
        """
        patients = patients_of(self.store)
        check_split(split, patients, where=where)
        require_part("train", split, patients, where=where)
        chosen = self.index.select(is_in("train", self.index.patient_N, split))
        if len(chosen) < 2:
            raise ConfigError(f"the split leaves {len(chosen)} training tiles; it needs 2 or more.")
        return chosen


def open_material(path: Path) -> Material:
    """Open a store and index its tiles."""
    store = TileStore(path)
    digests = {slide.slide_id: slide.digests for slide in store.slides}
    sha256 = sha256_of_value([store.meta.tiling_sha256, digests])
    return Material(store=store, index=index_tiles(store), sha256=sha256)


def check_tiles_fit(material: Material, network: Network, *, run: Path) -> None:
    """Refuse tiles of another size or scale than the network was made for.

    Raises:
        ConfigError: naming both.
    """
    meta = material.store.meta
    if (meta.tile_px, meta.mpp) != (network.tile_px, network.mpp):
        raise ConfigError(
            f"store {str(material.store.path)!r} has tiles of {meta.tile_px} px at {meta.mpp} "
            f"um/px, but run {str(run)!r} was trained on {network.tile_px} px at {network.mpp} "
            "um/px; tile again with the same --tile-px and --mpp."
        )


def patients_in(index: TileIndex) -> list[str]:
    """Return the patients of these tiles, sorted."""
    return [str(patient) for patient in np.unique(index.patient_N)]


def check_batch_size(config: TrainingConfig, tiles: TileIndex) -> None:
    """Refuse a batch larger than what there is to train on.

    Raises:
        ConfigError: naming both sizes.
    """
    if config.batch_size > len(tiles):
        raise ConfigError(
            f"--batch-size must be at most the {len(tiles)} training tiles, got "
            f"{config.batch_size}; lower it or tile more slides."
        )


@dataclass(frozen=True)
class BatchUnits:
    """What batches take their tiles from."""

    tiles: list[npt.NDArray[np.int64]]
    """Of each unit the positions of its tiles."""
    n_per_batch: int
    line: str
    """What a person reads of it."""


def batch_units(config: TrainingConfig, tiles: TileIndex, *, wanted: BatchFrom) -> BatchUnits:
    """Return the units that give a batch tiles of the wanted number of patients or slides.

    Raises:
        ConfigError: there are fewer of them, or too few tiles for batches of their own.
    """
    # By slide first: of a million tiles, texts would take a second to compare.
    _, first, slide_N = np.unique(tiles.slide_N, return_index=True, return_inverse=True)
    _, patient_S = np.unique(tiles.patient_N[first], return_inverse=True)
    group_N = patient_S[slide_N] if wanted.origin == "patients" else slide_N
    n_groups = int(group_N.max()) + 1
    if wanted.n > n_groups:
        raise ConfigError(
            f"--batch-from must ask for at most the {n_groups} {wanted.origin} that are trained "
            f"on, got '{wanted}'; lower it."
        )
    if len(tiles) < 3 * config.batch_size:
        raise ConfigError(
            f"--batch-from '{wanted}' needs training tiles for three batches, got {len(tiles)} "
            f"and a --batch-size of {config.batch_size}; lower --batch-size."
        )
    units = form_units(group_N, n_units=wanted.n, batch_size=config.batch_size, seed=config.seed)
    share = config.batch_size // wanted.n
    line = f"each batch is drawn from {wanted}, {share} tiles of each"
    n_small = int((np.bincount(group_N) < share).sum())
    if n_small:
        n_in = sorted(len(np.unique(group_N[unit])) for unit in units)
        line += (
            f"; {n_small} of the {n_groups} {wanted.origin} have fewer and are put together with "
            f"others, so that a batch may hold {sum(n_in[-wanted.n :])}"
        )
    return BatchUnits(tiles=units, n_per_batch=wanted.n, line=line)
