"""`medsimclr distill`: a student from the teacher's predictions for unlabelled tiles.

Source: arXiv 2006.10029, section 2, equation 2; `google-research/simclr` tf2/run.py. The teacher is
in inference mode and sees the same view as the student; no label is read.
"""

from collections.abc import Mapping

import torch

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.policy import policy_record
from medsimclr.config.distill import DistillConfig
from medsimclr.data.order import BatchOrder
from medsimclr.data.views import TileViews, load_batches
from medsimclr.errors import ConfigError
from medsimclr.files.atomic import write_text
from medsimclr.losses.distillation import distillation_loss
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
from medsimclr.training.material import check_tiles_fit, open_material, patients_in
from medsimclr.training.networks import build_classifier, load_classifier
from medsimclr.training.run_directory import LABELLED, Lineage, open_run, read_lineage, run_split
from medsimclr.training.run_log import Progress

__all__ = ["distill", "teaching_loss"]


def distill(config: DistillConfig, *, progress: Progress = lambda done, total, line: None) -> None:
    """Distil a fine-tuned run into a student, or go on where a run stopped.

    Raises:
        ConfigError: settings or output do not fit.
        CheckpointedError, NonFiniteLossError: see `loop.train`.
    """
    before = read_lineage(config.run)
    split = run_split(config.run)
    teacher, teacher_network = load_classifier(config.run)
    material = open_material(config.store)
    check_tiles_fit(material, teacher_network, run=config.run)
    tiles = material.training_tiles(split)
    if config.batch_size > len(tiles):
        raise ConfigError(
            f"--batch-size must be at most the {len(tiles)} training tiles, got "
            f"{config.batch_size}; lower it."
        )
    network = teacher_network.model_copy(
        update={"depth": config.depth, "width": config.width, "head_layer": 0}
    )
    policy_name = config.policy or before.policy
    policy = load_policy(policy_name, options=config.policy_options)
    lineage = Lineage(
        command="distill",
        store_sha256=material.sha256,
        policy=policy_name,
        policy_record=policy_record(policy),
        patients_unlabelled=sorted({*before.patients_unlabelled, *patients_in(tiles)}),
        patients_labelled=before.patients_labelled,
        identity=config.identity() | {"run": before.identity},
    )
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    plan = build_plan(config, n_tiles=len(tiles), n_views=1)
    student = on_device(build_classifier(network, seed=config.seed), device).train()
    teacher = on_device(teacher, device).eval()
    optimizer = build_optimizer(
        student, name=config.optimizer, lr=plan.peak_lr, weight_decay=config.weight_decay
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
        # The labels that the student has indirectly: its baselines are trained on them.
        write_text(run / LABELLED, (config.run / LABELLED).read_text(encoding="utf-8"))
        train(
            run,
            module=student,
            optimizer=optimizer,
            loss_of=teaching_loss(
                student,
                teacher,
                temperature=config.temperature,
                precision=precision,
                device=device,
            ),
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


def teaching_loss(
    student: Classifier,
    teacher: Classifier,
    *,
    temperature: float,
    precision: Precision,
    device: torch.device,
) -> Loss:
    """Return the distillation loss of a batch, with how often student and teacher agree."""

    def loss_of(batch: Batch) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        views_VBHWC, _ = batch
        images_BCHW = to_images(views_VBHWC[0], device)
        with autocast(precision, device):
            with torch.no_grad():
                teacher_BK = teacher(images_BCHW)
            student_BK = student(images_BCHW)
        loss = distillation_loss(student_BK, teacher_BK, temperature=temperature)
        agrees_B = student_BK.argmax(dim=1) == teacher_BK.argmax(dim=1)
        return loss, {"agreement": agrees_B.float().mean()}

    return loss_of
