"""`medsimclr finetune`: a classifier from a pretrained network and a few labels.

Source: arXiv 2006.10029, section 2 and appendix; `google-research/simclr` tf2/run.py. The whole
network is trained from a middle layer of the projection head; crops and flips are the policy's
supervised views.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from medsimclr.augment.policy import policy_record
from medsimclr.config.finetune import FinetuneConfig
from medsimclr.data.labels import apply_label_table, choose_labelled, keep_classes
from medsimclr.data.split import Part, require_labels
from medsimclr.data.tile_index import TileIndex
from medsimclr.files.checksum import sha256_of_file
from medsimclr.models.simclr import Classifier
from medsimclr.training.checkpoint_files import Checkpoint
from medsimclr.training.compute import on_device, to_images
from medsimclr.training.inheritance import inherited_patients, inherited_policy, source_checkpoint
from medsimclr.training.material import Material, check_tiles_fit, open_material, patients_in
from medsimclr.training.networks import Network, build_classifier, load_simclr
from medsimclr.training.run_directory import LABELLED, Lineage, read_lineage, run_split
from medsimclr.training.run_log import Progress, silent
from medsimclr.training.session import Session, open_session
from medsimclr.training.step import Accumulate, Batch
from medsimclr.training.tile_training import TileTraining, train_on_tiles

__all__ = ["finetune", "label_tiles", "set_training", "supervised_gradient"]


def finetune(config: FinetuneConfig, *, progress: Progress = silent) -> int:
    """Fine-tune on a few labelled tiles of the training patients, or go on where a run stopped.

    Returns after how many steps it went on, 0 for a new run.

    Raises:
        ConfigError, LabelError, SplitError: settings, labels or output do not fit.
        CheckpointedError, NonFiniteLossError: see `loop.train`.
    """
    with open_session(config) as session:
        return _finetune(config, session, progress)


def _finetune(config: FinetuneConfig, session: Session, progress: Progress) -> int:
    before = read_lineage(config.run)
    split = run_split(config.run)
    source = source_checkpoint(config.run, group=session.group, progress=progress)
    material = open_material(config.store)
    index, classes = label_tiles(material, config.label_table, config.classes)
    model, network = _starting_network(config, source, classes)
    check_tiles_fit(material, network, run=config.run)
    tiles = _labelled_tiles(material, index, split, config)
    policy_name, policy = inherited_policy(config, before)
    fitted_on = inherited_patients(config, before)
    seen_before = before.patients_unlabelled if config.init == "pretrained" else []
    lineage = Lineage(
        command="finetune",
        store_sha256=material.sha256,
        policy=policy_name,
        policy_record=policy_record(policy),
        patients_unlabelled=sorted({*seen_before, *fitted_on}),
        patients_labelled=patients_in(tiles),
        policy_fitted_on=sorted(fitted_on),
        identity=config.identity()
        | {
            "classes": classes,
            "run": source.identity(),
            "label_table": sha256_of_file(config.label_table) if config.label_table else "",
            "precision": session.compute.precision,
        },
    )
    model = on_device(model, session.compute.device)
    set_training(model, freeze=config.freeze)
    return train_on_tiles(
        config,
        session,
        TileTraining(
            module=model,
            network=network,
            tiles=tiles,
            policy=policy,
            kind="supervised",
            split=split,
            lineage=lineage,
            tables={LABELLED: _labelled_table(material, tiles, classes)},
        ),
        accumulate=supervised_gradient(model, session),
        progress=progress,
    )


def label_tiles(
    material: Material, label_table: Path | None, classes: Sequence[str] | None
) -> tuple[TileIndex, list[str]]:
    """Return the tiles with the labels of the store or of a table, and the class names.

    Args:
        material: the store.
        label_table: replaces the store's labels.
        classes: the classes to use, in the order of the labels; tiles of others lose their label.

    Raises:
        LabelError: the table is wrong, or a class is unknown.
    """
    index, names = material.index, material.store.meta.classes
    if label_table is not None:
        slide_ids = [slide.slide_id for slide in material.store.slides]
        index, names = apply_label_table(index, label_table, slide_ids=slide_ids, classes=names)
    return keep_classes(index, names, classes if classes is not None else names)


def set_training(model: Classifier, *, freeze: bool) -> None:
    """Put a classifier into training mode; frozen, only its last layer learns.

    Frozen batch norm keeps its moving statistics: the features are those of pretraining.
    """
    model.train()
    if freeze:
        model.requires_grad_(False)
        model.eval()
        model.supervised_head.requires_grad_(True)


def supervised_gradient(model: Classifier, session: Session) -> Accumulate:
    """Return the gradient of the mean cross-entropy of a batch, with its accuracy."""
    compute, group = session

    def accumulate(batch: Batch) -> Mapping[str, torch.Tensor]:
        views_VBHWC, label_B = batch
        label_B = label_B.to(compute.device)
        with compute.autocast():
            logits_BK = model(to_images(views_VBHWC[0], compute.device))
        loss = F.cross_entropy(logits_BK.float(), label_B) / group.size
        loss.backward()
        is_right_B = logits_BK.argmax(dim=1) == label_B
        return {"loss": loss.detach(), "accuracy": is_right_B.float().mean() / group.size}

    return accumulate


def _starting_network(
    config: FinetuneConfig, source: Checkpoint, classes: list[str]
) -> tuple[Classifier, Network]:
    pretrained, pretrained_network = load_simclr(config.run, checkpoint=source)
    network = pretrained_network.model_copy(
        update={"kind": "classifier", "head_layer": config.head_layer, "classes": classes}
    )
    model = build_classifier(network, seed=config.seed)
    if config.init == "pretrained":
        model.encoder.load_state_dict(pretrained.encoder.state_dict())
        kept = pretrained.head.prefix(layer=config.head_layer)
        model.head_layers.load_state_dict(kept.state_dict())
    return model, network


def _labelled_tiles(
    material: Material, index: TileIndex, split: Mapping[str, Part], config: FinetuneConfig
) -> TileIndex:
    relabelled = Material(store=material.store, index=index, sha256=material.sha256)
    training = relabelled.training_tiles(split, where=str(config.run / "split.csv"))
    chosen = training.select(choose_labelled(training, n_labels=config.labels, seed=config.seed))
    require_labels(chosen.label_N, what="the labelled training tiles")
    return chosen


def _labelled_table(material: Material, tiles: TileIndex, classes: list[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["slide", "x", "y", "label", "id"])
    slide_ids = np.array([slide.slide_id for slide in material.store.slides])[tiles.slide_N]
    names = np.array(classes)[tiles.label_N]
    xy = tiles.level0_xy_N2.tolist()
    for slide_id, (x, y), name, tile in zip(slide_ids, xy, names, tiles.id_N, strict=True):
        writer.writerow([slide_id, x, y, name, tile])
    return text.getvalue()
