"""What fine-tuning and distillation take over from the run before."""

from pathlib import Path

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.policy import AugmentationPolicy
from medsimclr.augment.recorded import load_recorded_policy
from medsimclr.config.distill import DistillConfig
from medsimclr.config.finetune import FinetuneConfig
from medsimclr.distributed.agreement import on_main
from medsimclr.distributed.group import Group
from medsimclr.training.checkpoint import checkpoint_at, require_checkpoint
from medsimclr.training.checkpoint_files import Checkpoint
from medsimclr.training.run_directory import Lineage
from medsimclr.training.run_log import Progress

__all__ = ["inherited_policy", "source_checkpoint"]


def source_checkpoint(run: Path, *, group: Group, progress: Progress) -> Checkpoint:
    """Choose the newest whole checkpoint of a run once for all processes.

    The run may still be training: two looks at it could find two checkpoints.

    Raises:
        NoInputError, IntegrityError: see `require_checkpoint`.
    """
    step = on_main(group, lambda: require_checkpoint(run, progress=progress).step)
    return checkpoint_at(run, step)


def inherited_policy(
    config: FinetuneConfig | DistillConfig, before: Lineage
) -> tuple[str, AugmentationPolicy]:
    """Return name and policy that were asked for, or those of the run before with its fields.

    Raises:
        PolicyError: see `load_policy` and `load_recorded_policy`.
    """
    if config.policy is not None:
        return config.policy, load_policy(config.policy, options=config.policy_options)
    return before.policy, load_recorded_policy(
        before.policy, before.policy_record, options=config.policy_options
    )
