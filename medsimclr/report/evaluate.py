"""`medsimclr evaluate`: classifiers on patients never seen, beside their baselines.

result.json       every figure, interval, note
evaluation.png    the same as a picture
predictions.csv   slide, x, y, label and probabilities of the first run
baselines/        the network trained from scratch
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medsimclr.config.base import difference, dump_toml
from medsimclr.config.evaluate import EvaluateConfig
from medsimclr.data.split import (
    Split,
    is_in,
    read_split,
    require_labels,
    require_part,
    strangers_note,
)
from medsimclr.data.tile_index import TileIndex, patients_of
from medsimclr.errors import ConfigError, PolicyError, SplitError
from medsimclr.evaluation.result import Evaluation, ModelRow, model_row
from medsimclr.files.atomic import write_json, write_text
from medsimclr.files.checksum import sha256_of_file, sha256_of_value
from medsimclr.files.lock import exclusive_lock
from medsimclr.models.simclr import Classifier
from medsimclr.report.evaluation_files import write_evaluation
from medsimclr.training.baselines import (
    LabelledTiles,
    colour_probabilities,
    finetune_config_of,
    random_encoder_probabilities,
    read_labelled,
    scratch_probabilities,
)
from medsimclr.training.checkpoint import require_checkpoint
from medsimclr.training.checkpoint_files import Checkpoint
from medsimclr.training.compute import choose_device
from medsimclr.training.finetune import label_tiles
from medsimclr.training.inference import predict_probabilities
from medsimclr.training.material import Material, check_tiles_fit, open_material
from medsimclr.training.networks import Network, load_classifier
from medsimclr.training.run_directory import Lineage, read_lineage, run_split
from medsimclr.training.run_log import Progress, silent

__all__ = ["comparison_notes", "evaluate"]

Probabilities = npt.NDArray[np.float64]


def evaluate(config: EvaluateConfig, *, progress: Progress = silent) -> Evaluation:
    """Test runs on the labelled tiles of the test patients and write the result.

    Raises:
        SplitError: a test patient's labels were used in training.
        LabelError: the test tiles have labels of fewer than two classes.
        ConfigError: runs differ in their classes, or the store does not fit them.
    """
    lineages = [read_lineage(run) for run in config.runs]
    split = read_split(config.split) if config.split else run_split(config.runs[0])
    material = open_material(config.store)
    _check_test(config, material, split, progress)
    checkpoints = [require_checkpoint(run, progress=progress) for run in config.runs]
    loaded = _load_runs(config.runs, checkpoints, material)
    network = loaded[0][1]
    index, _ = label_tiles(material, config.label_table, network.classes)
    test = index.select(is_in("test", index.patient_N, split) & (index.label_N >= 0))
    require_labels(test.label_N, what="the test tiles")
    notes = _check_lineage(config.runs, lineages, test)
    with exclusive_lock(config.out):
        _claim(config, checkpoints, material, split)
        predicted = _predict_runs(config, loaded, test, progress)
        lacks: list[str] = []
        if config.baselines:
            baselines, lacks = _predict_baselines(config, network, test, progress)
            predicted |= baselines
        unit = _unit(material, test)
        rows = _rows(config, predicted, test, network.classes, unit=unit)
        evaluation = Evaluation(
            rows=tuple(rows),
            class_names=tuple(network.classes),
            n_tiles=len(test),
            n_patients=len(np.unique(test.patient_N)),
            unit=unit,
            transductive=bool(notes),
            notes=(*notes, *lacks, *comparison_notes(rows, len(config.runs))),
        )
        write_evaluation(
            config.out,
            evaluation,
            store=material.store,
            tested=test,
            probabilities_NK=next(iter(predicted.values())),
        )
    return evaluation


def _check_test(
    config: EvaluateConfig, material: Material, split: Split, progress: Progress
) -> None:
    where, patients = str(config.split or config.runs[0] / "split.csv"), patients_of(material.store)
    require_part("test", split, patients, where=where)
    note = strangers_note(split, patients, where=where) if config.split else None
    if note is not None:
        progress(0, 0, note)


def _claim(
    config: EvaluateConfig, checkpoints: Sequence[Checkpoint], material: Material, split: Split
) -> None:
    """Record what the figures are of, or refuse an output that holds figures of something else."""
    table = config.label_table
    record = {
        "command": "evaluate",
        "configuration": config.identity(),
        "runs": [checkpoint.identity() for checkpoint in checkpoints],
        "store_sha256": material.sha256,
        "split_sha256": sha256_of_value(dict(split)),
        "label_table": sha256_of_file(table) if table else "",
    }
    path = config.out / "lineage.json"
    if path.is_file():
        changes = difference(json.loads(path.read_bytes()), record)
        if changes:
            raise ConfigError(
                f"result {str(config.out)!r} belongs to another configuration "
                f"({'; '.join(changes)}); choose another --out."
            )
    elif any(config.out.iterdir()):
        raise ConfigError(
            f"--out {str(config.out)!r} must be new, empty or a result, got other files; choose "
            "another --out."
        )
    write_json(path, record)
    write_text(config.out / "config.toml", dump_toml(config.with_absolute_paths().record()))


def _check_lineage(runs: Sequence[Path], lineages: Sequence[Lineage], test: TileIndex) -> list[str]:
    patients = set(np.unique(test.patient_N).tolist())
    notes = []
    for run, lineage in zip(runs, lineages, strict=True):
        leaked = sorted(patients & set(lineage.patients_labelled))
        if leaked:
            raise SplitError(
                f"test patient {leaked[0]!r} was trained on with labels in run {str(run)!r} "
                f"({len(leaked)} such patients); the figures would be wrong; test on others."
            )
        seen = patients & set(lineage.patients_unlabelled)
        if seen:
            notes.append(
                f"Transductive: run {run.name!r} saw {len(seen)} of {len(patients)} test patients "
                "in pretraining, in distillation or in fitting its policy, without their labels."
            )
    return notes


def _load_runs(
    runs: Sequence[Path], checkpoints: Sequence[Checkpoint], material: Material
) -> list[tuple[Classifier, Network]]:
    loaded = [
        load_classifier(run, checkpoint=checkpoint)
        for run, checkpoint in zip(runs, checkpoints, strict=True)
    ]
    classes = loaded[0][1].classes
    for run, (_, network) in zip(runs, loaded, strict=True):
        check_tiles_fit(material, network, run=run)
        if network.classes != classes:
            raise ConfigError(
                f"runs must have the same classes, got {classes} and {network.classes}."
            )
    return loaded


def _predict_runs(
    config: EvaluateConfig,
    loaded: Sequence[tuple[Classifier, Network]],
    test: TileIndex,
    progress: Progress,
) -> dict[str, Probabilities]:
    device = choose_device(config.device)
    predicted: dict[str, Probabilities] = {}
    for run, (model, network) in zip(config.runs, loaded, strict=True):
        progress(
            len(predicted) + 1, len(loaded), f"predicting {len(test)} test tiles by {run.name}"
        )
        name = run.name if run.name not in predicted else str(run)
        predicted[name] = predict_probabilities(
            model,
            config.store,
            test,
            view_px=network.view_px,
            device=device,
            batch_size=config.batch_size,
            n_workers=config.workers,
        )
    return predicted


def _predict_baselines(
    config: EvaluateConfig, network: Network, test: TileIndex, progress: Progress
) -> tuple[dict[str, Probabilities], list[str]]:
    """Return what the baselines predict, and a sentence for each that is left out."""
    device = choose_device(config.device)
    recipe = finetune_config_of(config.runs[0])
    material = open_material(recipe.store)
    labelled = LabelledTiles(recipe.store, read_labelled(config.runs[0], material, network.classes))
    tested = LabelledTiles(config.store, test)
    n_classes = len(network.classes)
    progress(1, 3, "baseline: colour statistics")
    colour = colour_probabilities(labelled, tested, n_classes=n_classes, seed=config.seed)
    progress(2, 3, "baseline: random encoder")
    random = random_encoder_probabilities(
        labelled, tested, network, n_classes=n_classes, seed=config.seed, device=device
    )
    progress(3, 3, "baseline: supervised from scratch")
    others = {"random encoder + linear": random, "colour statistics": colour}
    try:
        scratch = scratch_probabilities(
            recipe.with_changes(device=config.device, workers=config.workers),
            tested,
            out=config.out / "baselines" / "scratch",
            device=device,
            progress=progress,
        )
    except PolicyError as error:
        # Nothing else here needs the run's policy, which may not be installed where it is judged.
        return others, [f"supervised from scratch is left out: {error}"]
    return {"supervised from scratch": scratch, **others}, []


def _rows(
    config: EvaluateConfig,
    predicted: Mapping[str, Probabilities],
    test: TileIndex,
    classes: Sequence[str],
    *,
    unit: str,
) -> list[ModelRow]:
    _, unit_N = np.unique(test.unit_N, return_inverse=True)
    return [
        model_row(
            name,
            test.label_N,
            probabilities,
            unit_N,
            class_names=classes,
            unit=unit,
            n_resamples=config.bootstrap,
            seed=config.seed,
        )
        for name, probabilities in predicted.items()
    ]


def comparison_notes(rows: Sequence[ModelRow], n_runs: int) -> list[str]:
    """Say in words when a run is no better than a baseline, or no classifier at all."""
    notes = []
    for row in rows[:n_runs]:
        better = [
            other.name
            for other in rows[n_runs:]
            if other.metrics.balanced_accuracy >= row.metrics.balanced_accuracy
        ]
        if better:
            notes.append(f"{row.name} is no better than {' or '.join(better)} on these tiles.")
        if sum(any(column) for column in zip(*row.metrics.confusion_CC, strict=True)) == 1:
            notes.append(f"{row.name} predicts one class for every tile.")
    return notes


def _unit(material: Material, test: TileIndex) -> str:
    slides = [material.store.slides[i] for i in np.unique(test.slide_N)]
    if any(slide.unit == "tile" for slide in slides):
        return "tile"
    return "slide" if any(slide.patient is None for slide in slides) else "patient"
