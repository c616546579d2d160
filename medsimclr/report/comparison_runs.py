"""The runs of a comparison: pretrain a row with a seed and judge its features.

A seed draws split, weights and order, the same for every row, so that rows are paired.

OUT/splits/0.csv           training and test patients of a seed
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
from medsimclr.augment.policy import policy_record
from medsimclr.config.base import difference, resolve
from medsimclr.config.compare import PolicyCompareConfig
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.data.policy_fit import fit_policy, training_slides
from medsimclr.data.split import Split
from medsimclr.data.tile_index import TileIndex
from medsimclr.errors import ConfigError
from medsimclr.evaluation.frozen_figures import Features, knn_figure, probe_figures, probe_of
from medsimclr.evaluation.readability import readability
from medsimclr.files.atomic import json_text, write_json
from medsimclr.files.checksum import sha256_of_value
from medsimclr.models.resnet import ResNet
from medsimclr.report.comparison_cohort import Cohort
from medsimclr.training.baselines import colour_of
from medsimclr.training.compute import choose_device
from medsimclr.training.inference import encode
from medsimclr.training.networks import build_simclr, load_simclr
from medsimclr.training.pretrain import network_of, pretrain
from medsimclr.training.run_log import Progress

__all__ = ["COLOUR", "RANDOM", "SeedFigures", "row_configs", "seed_figures"]

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
    readable_chance: float | None
    """What guessing comes to."""


def row_configs(config: PolicyCompareConfig, *, seed: int) -> dict[str, PretrainConfig]:
    """Return the pretraining of every row with one seed.

    Raises:
        ConfigError: a setting is unknown or does not fit.
        PolicyError: a policy is unknown or unusable.
    """
    configs = {}
    place_of = {RANDOM: _place(RANDOM), COLOUR: _place(COLOUR)}
    for name, settings in config.rows().items():
        taken = next((other for other, place in place_of.items() if place == _place(name)), None)
        if taken is not None:
            raise ConfigError(
                f"rows must have names of their own, got {name!r} beside {taken!r}; both would "
                "be written to one place: name it otherwise under variants."
            )
        place_of[name] = _place(name)
        configs[name] = _run_config(config, settings, place=_place(name), seed=seed)
        load_policy(configs[name].policy, options=configs[name].policy_options)
    return configs


def _place(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)


def _run_config(
    config: PolicyCompareConfig, settings: Mapping[str, Any], *, place: str, seed: int
) -> PretrainConfig:
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
    return resolve(PretrainConfig, flags=flags)


def seed_figures(
    config: PolicyCompareConfig, cohort: Cohort, split: Split, *, seed: int, progress: Progress
) -> dict[str, SeedFigures]:
    """Run every row with one seed, baselines last; what is done is read.

    Raises:
        ConfigError: figures of another comparison are in the place.
        CheckpointedError: a signal came; see `loop.train`.
    """
    tested = {
        "store": cohort.material.sha256,
        "split": sha256_of_value(dict(split)),
        "unseen": cohort.unseen.sha256 if cohort.unseen else config.unseen_centre,
    }
    found: dict[str, SeedFigures] = {}
    for name, run in row_configs(config, seed=seed).items():
        progress(0, 0, f"seed {seed}: {name}")
        policy = policy_record(load_policy(run.policy, options=run.policy_options))
        drawn_by = {"policy": policy["class"], "policy_fields": policy["fields"]}
        found[name] = _once(
            config.out / "figures" / f"{run.out.name}.json",
            {**run.identity(), **drawn_by, **tested},
            partial(_trained_figures, run, cohort, split, progress),
        )
    base = _run_config(config, config.pretrain, place="", seed=seed)
    network = network_of(base, cohort.material.store.meta)
    random_encoder = _encoder(build_simclr(network, seed=seed).encoder, base)
    for name, encode_tiles, drawn in (
        (RANDOM, random_encoder, {"network": network.model_dump(mode="json")}),
        (COLOUR, colour_of, {}),
    ):
        found[name] = _once(
            config.out / "figures" / f"{_place(name)}-{seed}.json",
            {"seed": seed, **drawn, **tested},
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
    # As JSON holds it: a tuple among a policy's fields is read back as a list.
    identity = json.loads(json_text(identity))
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


def _trained_figures(
    run: PretrainConfig, cohort: Cohort, split: Split, progress: Progress
) -> SeedFigures:
    run = _fitted(run, cohort, progress)
    pretrain(run, progress=progress)
    encoder = load_simclr(run.out)[0].encoder
    return _figures(_encoder(encoder, run), cohort, split, seed=run.seed)


def _fitted(run: PretrainConfig, cohort: Cohort, progress: Progress) -> PretrainConfig:
    """Fit a policy that can be fitted to the training patients: built-in statistics may leak."""
    if not callable(getattr(type(load_policy(run.policy)), "fit", None)):
        return run
    progress(0, 0, f"fitting {run.policy} to the training patients")
    store = cohort.material.store
    fitted = fit_policy(
        run.policy,
        store,
        slide_indices=training_slides(store, run.split),
        options=run.policy_options,
        n_tiles=_FITTED_TILES,
        seed=run.seed,
    )
    return run.with_changes(**tomllib.loads(fitted.toml))


def _encoder(encoder: ResNet, run: PretrainConfig) -> Encode:
    device = choose_device(run.device)
    return lambda store, tiles: encode(
        encoder, store, tiles, view_px=run.view_px, device=device, n_workers=run.workers
    )


def _figures(encode_tiles: Encode, cohort: Cohort, split: Split, *, seed: int) -> SeedFigures:
    n_classes = len(cohort.classes)
    features_ND = encode_tiles(cohort.material.store.path, cohort.tiles)
    parts = cohort.parts(split)
    train, test = (_features(features_ND, cohort.tiles, parts[name]) for name in ("train", "test"))
    probe = probe_of(train, n_classes=n_classes, seed=seed)
    on_test = probe_figures(probe, test, n_classes=n_classes)
    unseen = None
    if "unseen" in parts:
        unseen = _features(features_ND, cohort.tiles, parts["unseen"])
    elif cohort.unseen is not None and cohort.unseen_tiles is not None:
        others = cohort.unseen_tiles
        unseen_ND = encode_tiles(cohort.unseen.store.path, others)
        unseen = Features(unseen_ND, others.label_N, others.unit_N)
    on_unseen = probe_figures(probe, unseen, n_classes=n_classes) if unseen else None
    group_N, unit_N = cohort.groups_and_units()
    known_N = group_N != ""
    readable = readability(features_ND[known_N], group_N[known_N], unit_N[known_N], seed=seed)
    return SeedFigures(
        knn=knn_figure(train, test, n_classes=n_classes),
        linear=on_test.balanced_accuracy,
        auroc=on_test.auroc,
        unseen=on_unseen.balanced_accuracy if on_unseen else None,
        unseen_auroc=on_unseen.auroc if on_unseen else None,
        readable=readable.accuracy if readable else None,
        readable_chance=readable.chance if readable else None,
    )


def _features(
    features_ND: npt.NDArray[np.floating[Any]], tiles: TileIndex, chosen_N: npt.NDArray[np.bool_]
) -> Features:
    return Features(features_ND[chosen_N], tiles.label_N[chosen_N], tiles.unit_N[chosen_N])
