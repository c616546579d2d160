"""The runs of a comparison: pretrain a row with a seed and judge its features.

A seed draws split, weights and order, the same for every row, so that rows are paired.

OUT/splits/0.csv           training and test patients of a seed
OUT/fitted/ROW-0.toml      what the policy was fitted to the training patients with
OUT/runs/ROW-0/            the pretraining, which resumes
OUT/figures/ROW-0.json     what it came to; there, it is not run again
"""

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsimclr.augment.discovery import load_policy
from medsimclr.config.base import difference, resolve
from medsimclr.config.compare import PolicyCompareConfig
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.data.policy_fit import fit_policy, training_slides
from medsimclr.data.split import Split, is_in, require_labels, write_split
from medsimclr.data.tile_index import TileIndex
from medsimclr.errors import ConfigError
from medsimclr.evaluation.frozen_figures import Features, knn_figure, probe_figures, probe_of
from medsimclr.evaluation.readability import readability
from medsimclr.files.atomic import output_errors, write_json, write_text
from medsimclr.files.checksum import sha256_of_value
from medsimclr.models.resnet import ResNet
from medsimclr.report.comparison_cohort import Cohort
from medsimclr.training.baselines import colour_of
from medsimclr.training.compute import choose_device
from medsimclr.training.inference import encode
from medsimclr.training.networks import build_simclr, load_simclr
from medsimclr.training.pretrain import network_of, pretrain
from medsimclr.training.run_log import Progress

__all__ = ["COLOUR", "RANDOM", "SeedFigures", "make_folders", "row_configs", "seed_figures"]

RANDOM = "random encoder"
COLOUR = "colour statistics"
_FITTED_TILES = 32
Encode = Callable[[Path, TileIndex], npt.NDArray[np.floating[Any]]]


@dataclass(frozen=True, kw_only=True)
class SeedFigures:
    """What one row came to with one seed; None where the store cannot tell."""

    knn: float
    """Balanced accuracy of the nearest neighbours on the test patients."""
    linear: float
    """Balanced accuracy of a linear probe on the test patients."""
    auroc: float | None
    """Of the same probe."""
    unseen: float | None
    """Balanced accuracy of the same probe on the centre or store never seen."""
    unseen_auroc: float | None
    readable: float | None
    """Balanced accuracy of naming centre or patient from the features; lower is better."""


def make_folders(out: Path) -> None:
    """Make the folders that the runs write to."""
    with output_errors(out):
        for name in ("splits", "fitted", "runs", "figures"):
            (out / name).mkdir(parents=True, exist_ok=True)


def row_configs(config: PolicyCompareConfig, *, seed: int) -> dict[str, PretrainConfig]:
    """Return the pretraining of every row with one seed.

    Raises:
        ConfigError: a setting is unknown or does not fit.
        PolicyError: a policy is unknown or unusable.
    """
    configs = {}
    for name, settings in config.rows().items():
        place = re.sub(r"[^A-Za-z0-9._-]+", "_", name)
        flags = {
            **settings,
            "store": config.store,
            "out": config.out / "runs" / f"{place}-{seed}",
            "split": config.out / "splits" / f"{seed}.csv",
            "epochs": config.epochs,
            "view_px": config.view_px,
            "batch_size": config.batch_size,
            "seed": seed,
        }
        configs[name] = resolve(PretrainConfig, flags=flags)
        load_policy(configs[name].policy, options=configs[name].policy_options)
    return configs


def seed_figures(
    config: PolicyCompareConfig, cohort: Cohort, *, seed: int, progress: Progress
) -> dict[str, SeedFigures]:
    """Run every row with one seed, baselines last; what is done is read.

    Raises:
        ConfigError: figures of another comparison are in the place.
        CheckpointedError: a signal came; see `loop.train`.
    """
    split = cohort.split(n_folds=config.folds, seed=seed)
    write_split(config.out / "splits" / f"{seed}.csv", split)
    found: dict[str, SeedFigures] = {}
    base = None
    for name, run in row_configs(config, seed=seed).items():
        base = base or run
        progress(0, 0, f"seed {seed}: {name}")
        fitted = _fitted(run, cohort, progress)
        found[name] = _once(
            config.out / "figures" / f"{run.out.name}.json",
            _identity(config, cohort, run, split),
            partial(_trained_figures, fitted, cohort, split, progress),
        )
    assert base is not None
    for name, encode_tiles in {RANDOM: _random(base, cohort), COLOUR: colour_of}.items():
        found[name] = _once(
            config.out / "figures" / f"{name.replace(' ', '_')}-{seed}.json",
            _identity(config, cohort, base, split) | {"policy": name},
            partial(_figures, encode_tiles, cohort, split, seed=seed),
        )
    return found


def _once(
    path: Path, identity: Mapping[str, Any], measure: Callable[[], SeedFigures]
) -> SeedFigures:
    """Read figures that are there already, or measure and write them.

    Raises:
        ConfigError: those that are there are of something else.
    """
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        changes = difference(kept["of"], identity)
        if changes:
            raise ConfigError(
                f"figures {str(path)!r} are of another comparison ({'; '.join(changes)}); choose "
                "another --out."
            )
        return SeedFigures(**kept["figures"])
    figures = measure()
    write_json(path, {"of": identity, "figures": asdict(figures)})
    return figures


def _identity(
    config: PolicyCompareConfig, cohort: Cohort, run: PretrainConfig, split: Split
) -> dict[str, Any]:
    unseen = cohort.unseen.sha256 if cohort.unseen else None
    return {
        **run.identity(),
        "store": cohort.material.sha256,
        "split": sha256_of_value(dict(split)),
        "unseen": unseen or config.unseen_centre,
    }


def _fitted(run: PretrainConfig, cohort: Cohort, progress: Progress) -> PretrainConfig:
    """Fit a policy that can be fitted and was given no options to the training patients."""
    can_fit = callable(getattr(type(load_policy(run.policy)), "fit", None))
    if not can_fit or run.policy_options:
        return run
    path = run.out.parent.parent / "fitted" / f"{run.out.name}.toml"
    if not path.is_file():
        progress(0, 0, f"fitting {run.policy} to the training patients")
        store = cohort.material.store
        slides = training_slides(store, run.split)
        fitted = fit_policy(
            run.policy, store, slide_indices=slides, options={}, n_tiles=_FITTED_TILES,
            seed=run.seed,
        )  # fmt: skip
        write_text(path, fitted.toml)
    options = tomllib.loads(path.read_text(encoding="utf-8"))["policy_options"]
    return run.with_changes(policy_options=options)


def _trained_figures(
    run: PretrainConfig, cohort: Cohort, split: Split, progress: Progress
) -> SeedFigures:
    pretrain(run, progress=progress)
    encoder = load_simclr(run.out)[0].encoder
    return _figures(_encoder(encoder, run), cohort, split, seed=run.seed)


def _random(run: PretrainConfig, cohort: Cohort) -> Encode:
    network = network_of(run, cohort.material.store.meta)
    return _encoder(build_simclr(network, seed=run.seed).encoder, run)


def _encoder(encoder: ResNet, run: PretrainConfig) -> Encode:
    device = choose_device(run.device)
    return lambda store, tiles: encode(
        encoder, store, tiles, view_px=run.view_px, device=device, n_workers=run.workers
    )


def _figures(encode_tiles: Encode, cohort: Cohort, split: Split, *, seed: int) -> SeedFigures:
    tiles, n_classes = cohort.tiles, len(cohort.classes)
    features_ND = encode_tiles(cohort.material.store.path, tiles)
    is_labelled_N = tiles.label_N >= 0
    is_train_N = is_in("train", tiles.patient_N, split)

    def part(chosen_N: npt.NDArray[np.bool_], what: str) -> Features:
        chosen_N = chosen_N & is_labelled_N
        require_labels(tiles.label_N[chosen_N], what=f"{what} tiles of seed {seed}")
        return Features(features_ND[chosen_N], tiles.label_N[chosen_N], tiles.unit_N[chosen_N])

    train, test = part(is_train_N, "training"), part(~is_train_N & ~cohort.is_unseen_N, "test")
    probe = probe_of(train, n_classes=n_classes, seed=seed)
    on_test = probe_figures(probe, test, n_classes=n_classes)
    unseen = part(cohort.is_unseen_N, "unseen") if cohort.unseen_centre else None
    if cohort.unseen is not None and cohort.unseen_tiles is not None:
        others = cohort.unseen_tiles
        unseen_ND = encode_tiles(cohort.unseen.store.path, others)
        unseen = Features(unseen_ND, others.label_N, others.unit_N)
    on_unseen = probe_figures(probe, unseen, n_classes=n_classes) if unseen else None
    group_N, unit_N = cohort.groups_and_units()
    readable = readability(features_ND, group_N, unit_N, seed=seed)
    return SeedFigures(
        knn=knn_figure(train, test, n_classes=n_classes),
        linear=on_test.balanced_accuracy,
        auroc=on_test.auroc,
        unseen=on_unseen.balanced_accuracy if on_unseen else None,
        unseen_auroc=on_unseen.auroc if on_unseen else None,
        readable=readable.accuracy if readable else None,
    )
