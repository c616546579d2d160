"""`medsimclr distill`: a student from the teacher's predictions for unlabelled tiles.

Source: arXiv 2006.10029, section 2, equation 2; `google-research/simclr` tf2/run.py. The teacher is
in inference mode and sees the same view as the student; no label is read.
"""

from collections.abc import Mapping

import torch

from medsimclr.augment.policy import policy_record
from medsimclr.config.distill import DistillConfig
from medsimclr.losses.distillation import distillation_loss
from medsimclr.models.simclr import Classifier
from medsimclr.training.compute import on_device, to_images
from medsimclr.training.inheritance import (
    inherited_patients,
    inherited_policy,
    source_checkpoint,
)
from medsimclr.training.material import (
    check_batch_size,
    check_tiles_fit,
    open_material,
    patients_in,
)
from medsimclr.training.networks import build_classifier, load_classifier
from medsimclr.training.run_directory import LABELLED, Lineage, read_lineage, run_split
from medsimclr.training.run_log import Progress, silent
from medsimclr.training.session import Session, open_session
from medsimclr.training.step import Accumulate, Batch
from medsimclr.training.tile_training import TileTraining, train_on_tiles

__all__ = ["distill", "teaching_gradient"]


def distill(config: DistillConfig, *, progress: Progress = silent) -> int:
    """Distil a fine-tuned run into a student, or go on where a run stopped.

    Returns after how many steps it went on, 0 for a new run.

    Raises:
        ConfigError: settings or output do not fit.
        CheckpointedError, NonFiniteLossError: see `loop.train`.
    """
    with open_session(config) as session:
        return _distill(config, session, progress)


def _distill(config: DistillConfig, session: Session, progress: Progress) -> int:
    before = read_lineage(config.run)
    split = run_split(config.run)
    source = source_checkpoint(config.run, group=session.group, progress=progress)
    teacher, teacher_network = load_classifier(config.run, checkpoint=source)
    material = open_material(config.store)
    check_tiles_fit(material, teacher_network, run=config.run)
    tiles = material.training_tiles(split, where=str(config.run / "split.csv"))
    check_batch_size(config, tiles)
    network = teacher_network.model_copy(
        update={
            "depth": config.depth,
            "width": config.width,
            "selective_kernels": config.selective_kernels,
            "head_layer": 0,
        }
    )
    policy_name, policy = inherited_policy(config, before)
    fitted_on = inherited_patients(config, before)
    device, precision = session.compute
    lineage = Lineage(
        command="distill",
        store_sha256=material.sha256,
        policy=policy_name,
        policy_record=policy_record(policy),
        patients_unlabelled=sorted({*before.patients_unlabelled, *fitted_on, *patients_in(tiles)}),
        patients_labelled=before.patients_labelled,
        policy_fitted_on=sorted(fitted_on),
        identity=config.identity() | {"run": source.identity(), "precision": precision},
    )
    student = on_device(build_classifier(network, seed=config.seed), device).train()
    teacher = on_device(teacher, device).eval()
    # The labels that the student has indirectly: its baselines are trained on them.
    labelled = (config.run / LABELLED).read_text(encoding="utf-8")
    return train_on_tiles(
        config,
        session,
        TileTraining(
            module=student,
            network=network,
            tiles=tiles,
            policy=policy,
            kind="supervised",
            split=split,
            lineage=lineage,
            tables={LABELLED: labelled},
        ),
        accumulate=teaching_gradient(
            student, teacher, temperature=config.temperature, session=session
        ),
        progress=progress,
    )


def teaching_gradient(
    student: Classifier, teacher: Classifier, *, temperature: float, session: Session
) -> Accumulate:
    """Return the gradient of the distillation loss, with how often student and teacher agree."""
    compute, group = session

    def accumulate(batch: Batch) -> Mapping[str, torch.Tensor]:
        views_VBHWC, _ = batch
        images_BCHW = to_images(views_VBHWC[0], compute.device)
        with compute.autocast():
            with torch.no_grad():
                teacher_BK = teacher(images_BCHW)
            student_BK = student(images_BCHW)
        loss = distillation_loss(student_BK, teacher_BK, temperature=temperature) / group.size
        loss.backward()
        agrees_B = student_BK.argmax(dim=1) == teacher_BK.argmax(dim=1)
        return {"loss": loss.detach(), "agreement": agrees_B.float().mean() / group.size}

    return accumulate
