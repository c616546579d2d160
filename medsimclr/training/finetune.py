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

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.policy import policy_record
from medsimclr.config.finetune import FinetuneConfig
from medsimclr.data.labels import apply_label_table, choose_labelled, keep_classes
from medsimclr.data.order import BatchOrder
from medsimclr.data.split import Part, require_labels
from medsimclr.data.tile_index import TileIndex
from medsimclr.data.views import TileViews, load_batches
from medsimclr.files.atomic import write_text
from medsimclr.models.simclr import Classifier
from medsimclr.training.compute import (
    Precision,
    autocast,
    choose_device,
    choose_precision,
    on_device,
    to_images,
)
from medsimclr.training.loop import Batch, Loss, build_optimizer, build_plan, train
from medsimclr.training.material import Material, check_tiles_fit, open_material, patients_in
from medsimclr.training.networks import build_classifier, load_simclr
from medsimclr.training.run_directory import LABELLED, Lineage, open_run, read_lineage, run_split
from medsimclr.training.run_log import Progress

__all__ = ["finetune", "label_tiles", "set_training", "supervised_loss"]


def finetune(
    config: FinetuneConfig, *, progress: Progress = lambda done, total, line: None
) -> None:
    """Fine-tune on a few labelled tiles of the training patients, or go on where a run stopped.

    Raises:
        ConfigError, LabelError, SplitError: settings, labels or output do not fit.
        CheckpointedError, NonFiniteLossError: see `loop.train`.
    """
    before = read_lineage(config.run)
    split = run_split(config.run)
    material = open_material(config.store)
    index, classes = label_tiles(material, config.label_table, config.classes)
    pretrained, pretrained_network = load_simclr(config.run)
    check_tiles_fit(material, pretrained_network, run=config.run)
    tiles = _labelled_tiles(material, index, split, config)
    network = pretrained_network.model_copy(
        update={"kind": "classifier", "head_layer": config.head_layer, "classes": classes}
    )
    model = build_classifier(network, seed=config.seed)
    if config.init == "pretrained":
        model.encoder.load_state_dict(pretrained.encoder.state_dict())
        kept = pretrained.head.prefix(layer=config.head_layer)
        model.head_layers.load_state_dict(kept.state_dict())
    policy_name = config.policy or before.policy
    policy = load_policy(policy_name, options=config.policy_options)
    is_pretrained = config.init == "pretrained"
    lineage = Lineage(
        command="finetune",
        store_sha256=material.sha256,
        policy=policy_name,
        policy_record=policy_record(policy),
        patients_unlabelled=before.patients_unlabelled if is_pretrained else [],
        patients_labelled=patients_in(tiles),
        identity=config.identity() | {"run": before.identity, "classes": classes},
    )
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    plan = build_plan(config, n_tiles=len(tiles), n_views=1)
    model = on_device(model, device)
    set_training(model, freeze=config.freeze)
    optimizer = build_optimizer(
        model, name=config.optimizer, lr=plan.peak_lr, weight_decay=config.weight_decay
    )
    views = TileViews(
        config.store,
        tiles,
        kind="supervised",
        policy=policy,
        view_px=network.view_px,
        seed=config.seed,
    )
    with open_run(config, lineage, split, device=device) as run:
        _write_labelled(run / LABELLED, material, tiles, classes)
        train(
            run,
            module=model,
            optimizer=optimizer,
            loss_of=supervised_loss(model, precision=precision, device=device),
            batches_from=lambda step: load_batches(
                views,
                BatchOrder(len(tiles), config.batch_size, config.seed, step, plan.total_steps),
                n_workers=config.workers,
                is_pinned=device.type == "cuda",
            ),
            plan=plan,
            network=network,
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


def supervised_loss(model: Classifier, *, precision: Precision, device: torch.device) -> Loss:
    """Return the mean cross-entropy of a batch, with its accuracy."""

    def loss_of(batch: Batch) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        views_VBHWC, label_B = batch
        label_B = label_B.to(device)
        with autocast(precision, device):
            logits_BK = model(to_images(views_VBHWC[0], device))
        loss = F.cross_entropy(logits_BK.float(), label_B)
        return loss, {"accuracy": (logits_BK.argmax(dim=1) == label_B).float().mean()}

    return loss_of


def _labelled_tiles(
    material: Material, index: TileIndex, split: Mapping[str, Part], config: FinetuneConfig
) -> TileIndex:
    relabelled = Material(store=material.store, index=index, sha256=material.sha256)
    training = relabelled.training_tiles(split)
    chosen = training.select(choose_labelled(training, n_labels=config.labels, seed=config.seed))
    require_labels(chosen.label_N, what="the labelled training tiles")
    return chosen


def _write_labelled(path: Path, material: Material, tiles: TileIndex, classes: list[str]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["slide", "x", "y", "label", "id"])
    slide_ids = np.array([slide.slide_id for slide in material.store.slides])[tiles.slide_N]
    names = np.array(classes)[tiles.label_N]
    xy = tiles.level0_xy_N2.tolist()
    for slide_id, (x, y), name, tile in zip(slide_ids, xy, names, tiles.id_N, strict=True):
        writer.writerow([slide_id, x, y, name, tile])
    write_text(path, text.getvalue())
