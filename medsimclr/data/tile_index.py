"""All tiles of a store as columns, one row a tile."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medsimclr.store.reader import TileStore

__all__ = ["TileIndex", "index_tiles", "patients_of"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TileIndex:
    """Where each tile is and what is known of it; every column is (N,) unless it says more.

    `id_N` numbers the tiles of the whole store and stays with a tile through every selection: it
    seeds the tile's views.
    """

    id_N: Ints
    slide_N: Ints
    row_N: Ints
    label_N: Ints
    patient_N: npt.NDArray[np.str_]
    unit_N: npt.NDArray[np.str_]
    """What is drawn independently: the patient, or the tile itself for natural images."""
    level0_xy_N2: Ints

    def __len__(self) -> int:
        return len(self.id_N)

    def select(self, chosen: npt.NDArray[np.bool_] | Ints) -> "TileIndex":
        """Return the chosen rows, by mask or position."""
        return TileIndex(**{name: column[chosen] for name, column in vars(self).items()})


def patients_of(store: TileStore) -> list[str]:
    """Return the patient of every slide; a slide without one counts as its own patient."""
    return [slide.patient or slide.slide_id for slide in store.slides]


def index_tiles(store: TileStore) -> TileIndex:
    """Read the columns of every tile of a store."""
    counts = np.array([slide.n_tiles for slide in store.slides])
    slide_N = np.repeat(np.arange(len(counts)), counts)
    patient_N = np.array(patients_of(store), dtype=np.str_)[slide_N]
    id_N = np.arange(len(slide_N))
    is_tile_unit = np.array([slide.unit == "tile" for slide in store.slides])[slide_N]
    return TileIndex(
        id_N=id_N,
        slide_N=slide_N,
        row_N=np.concatenate([np.arange(count) for count in counts]),
        label_N=store.table("label").astype(np.int64),
        patient_N=patient_N,
        unit_N=np.where(is_tile_unit, np.char.mod("tile-%d", id_N), patient_N),
        level0_xy_N2=store.table("level0_xy"),
    )
