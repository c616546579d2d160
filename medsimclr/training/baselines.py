"""What the pretrained model must beat, on the same labelled tiles.

Colour statistics alone: how far the stain goes. A random encoder with a linear probe: how far the
architecture goes. The same network trained from scratch: how far the labels go.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError

from medsimclr.config.base import load_toml
from medsimclr.config.finetune import FinetuneConfig
from medsimclr.data.tile_index import TileIndex
from medsimclr.errors import IntegrityError, NoInputError
from medsimclr.evaluation.colour_statistics import colour_features
from medsimclr.evaluation.frozen_figures import Features, probe_of
from medsimclr.store.reader import TileStore
from medsimclr.training.finetune import finetune
from medsimclr.training.inference import encode, predict_probabilities
from medsimclr.training.material import Material
from medsimclr.training.networks import Network, build_simclr, load_classifier
from medsimclr.training.run_directory import LABELLED, read_lineage
from medsimclr.training.run_log import Progress

__all__ = [
    "LabelledTiles",
    "colour_of",
    "colour_probabilities",
    "finetune_config_of",
    "random_encoder_probabilities",
    "read_labelled",
    "scratch_probabilities",
]

Probabilities = npt.NDArray[np.float64]

# From scratch a network needs a larger rate than one that is only adapted: the rate of SimCLRv2's
# own training from random weights, 0.1 * sqrt(batch). Chosen on measurements, see DECISIONS.md.
_SCRATCH_BASE_LR = 0.1
_CHUNK = 1024


@dataclass(frozen=True)
class LabelledTiles:
    """The tiles whose labels a run saw, in the store that it was trained on."""

    store: Path
    tiles: TileIndex


def finetune_config_of(run: Path) -> FinetuneConfig:
    """Return the configuration of a fine-tuned run, or of the teacher of a distilled one."""
    config = load_toml(run / "config.toml")
    try:
        if read_lineage(run).command == "distill":
            return finetune_config_of(Path(config["run"]))
        return FinetuneConfig.model_validate(config)
    except (KeyError, TypeError, ValidationError) as error:
        raise IntegrityError(
            f"{str(run / 'config.toml')!r} is no configuration of a run: {error}; give a run of "
            "finetune or distill, or --no-baselines."
        ) from error


def read_labelled(run: Path, material: Material, classes: list[str]) -> TileIndex:
    """Return the tiles that a run's labelled_tiles.csv names, with those labels.

    Raises:
        NoInputError: the run has no such table.
        IntegrityError: the store is not the one that the run was trained on.
    """
    if read_lineage(run).store_sha256 != material.sha256:
        raise IntegrityError(
            f"store {str(material.store.path)!r} has changed since run {str(run)!r} was trained on "
            "it, so its labelled tiles cannot be found for the baselines; fine-tune again, or give "
            "--no-baselines."
        )
    path = run / LABELLED
    if not path.is_file():
        raise NoInputError(
            f"run {str(run)!r} must have a {LABELLED} for the baselines, got none; give "
            "a run of finetune or distill, or --no-baselines."
        )
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ids = np.array([int(row["id"]) for row in rows])
    tiles = material.index.select(ids)
    labels = np.array([classes.index(row["label"]) for row in rows])
    return TileIndex(**{**vars(tiles), "label_N": labels})


def colour_probabilities(
    labelled: LabelledTiles, test: LabelledTiles, *, n_classes: int, seed: int
) -> Probabilities:
    """Predict the test tiles from the colour statistics of each tile alone; (N, K)."""
    return _probe(
        colour_of(labelled.store, labelled.tiles),
        colour_of(test.store, test.tiles),
        labelled.tiles,
        n_classes=n_classes,
        seed=seed,
    )


def random_encoder_probabilities(
    labelled: LabelledTiles,
    test: LabelledTiles,
    network: Network,
    *,
    n_classes: int,
    seed: int,
    device: torch.device,
) -> Probabilities:
    """Predict the test tiles by a linear probe on an encoder that never learned; (N, K)."""
    encoder = build_simclr(network, seed=seed).encoder
    features = [
        encode(encoder, part.store, part.tiles, view_px=network.view_px, device=device)
        for part in (labelled, test)
    ]
    return _probe(features[0], features[1], labelled.tiles, n_classes=n_classes, seed=seed)


def scratch_probabilities(
    config: FinetuneConfig,
    test: LabelledTiles,
    *,
    out: Path,
    device: torch.device,
    progress: Progress,
) -> Probabilities:
    """Train the same network from random weights on the same labels and predict; (N, K).

    Same labelled tiles, augmentation, batches and epochs; the learning rate is its own.
    """
    changed = config.with_changes(
        out=out, init="random", freeze=False, base_lr=_SCRATCH_BASE_LR, warmup_share=0.05
    )
    finetune(changed, progress=progress)
    model, network = load_classifier(out)
    return predict_probabilities(
        model, test.store, test.tiles, view_px=network.view_px, device=device
    )


def colour_of(store: Path, tiles: TileIndex) -> npt.NDArray[np.float64]:
    """Return the colour statistics of tiles, (N, K), a chunk of them in memory at a time."""
    opened = TileStore(store)
    slides, rows = tiles.slide_N.tolist(), tiles.row_N.tolist()
    return np.concatenate(
        [
            colour_features(opened.read_tiles(slides[i : i + _CHUNK], rows[i : i + _CHUNK]))
            for i in range(0, len(rows), _CHUNK)
        ]
    )


def _probe(
    labelled_features_ND: npt.NDArray[np.floating],
    test_features_ND: npt.NDArray[np.floating],
    labelled: TileIndex,
    *,
    n_classes: int,
    seed: int,
) -> Probabilities:
    train = Features(labelled_features_ND, labelled.label_N, labelled.patient_N)
    return probe_of(train, n_classes=n_classes, seed=seed).predict_proba(test_features_ND)
