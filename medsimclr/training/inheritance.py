"""What a training takes over from the run before."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.policy import AugmentationPolicy
from medsimclr.augment.recorded import load_recorded_policy
from medsimclr.config.distill import DistillConfig
from medsimclr.config.finetune import FinetuneConfig
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.distributed.agreement import on_main
from medsimclr.distributed.group import Group
from medsimclr.errors import ConfigError, IntegrityError, NoInputError, UnsafeInputError
from medsimclr.models.simclr import SimCLR
from medsimclr.training.checkpoint import checkpoint_at, require_checkpoint
from medsimclr.training.checkpoint_files import Checkpoint
from medsimclr.training.networks import Network, build_simclr, load_simclr
from medsimclr.training.run_directory import Lineage
from medsimclr.training.run_log import Progress

__all__ = [
    "inherited_patients",
    "inherited_policy",
    "naming",
    "source_checkpoint",
    "starting_checkpoint",
    "starting_network",
]


@contextmanager
def naming(option: str) -> Iterator[None]:
    """Begin with an option what is said of the run that it names.

    Raises:
        NoInputError, IntegrityError, UnsafeInputError: what was raised, under the option's name.
    """
    try:
        yield
    except (NoInputError, IntegrityError, UnsafeInputError) as error:
        named = type(error)(f"{option}: {error}")
        named.is_echo = error.is_echo
        raise named from error


def source_checkpoint(run: Path, *, group: Group, progress: Progress) -> Checkpoint:
    """Choose the newest whole checkpoint of a run once for all processes.

    The run may still be training: two looks at it could find two checkpoints.

    Raises:
        NoInputError, IntegrityError: see `require_checkpoint`.
    """
    step = on_main(group, lambda: require_checkpoint(run, progress=progress).step)
    return checkpoint_at(run, step)


def starting_checkpoint(
    config: PretrainConfig, *, group: Group, progress: Progress
) -> Checkpoint | None:
    """Choose the checkpoint that a pretraining is to start from; None where it is to be new.

    Raises:
        NoInputError, IntegrityError: see `require_checkpoint`.
    """
    if config.start_from is None:
        return None
    with naming("--start-from"):
        return source_checkpoint(config.start_from, group=group, progress=progress)


def starting_network(
    config: PretrainConfig, network: Network, checkpoint: Checkpoint | None
) -> SimCLR:
    """Build the network of a pretraining, from weights drawn or those of a checkpoint.

    Raises:
        ConfigError: see `_starting_weights`.
    """
    if config.start_from is None or checkpoint is None:
        return build_simclr(network, seed=config.seed)
    with naming("--start-from"):
        return _starting_weights(config.start_from, checkpoint, network)


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


def inherited_patients(config: FinetuneConfig | DistillConfig, before: Lineage) -> set[str]:
    """Return the patients that the policy was fitted to, here or, if it is taken over, before."""
    inherited = before.policy_fitted_on if config.policy is None else []
    return {*inherited, *config.policy_fitted_on}


def _starting_weights(run: Path, checkpoint: Checkpoint, network: Network) -> SimCLR:
    """Load a pretrained network to train on.

    Args:
        run: the run, for messages.
        checkpoint: one of its checkpoints.
        network: what is to be trained; its views may be of another size than the run's.

    Raises:
        ConfigError: the run's network is another one.
    """
    model, before = load_simclr(run, checkpoint=checkpoint)
    asked = network.model_copy(update={"view_px": before.view_px})
    differing = [
        f"{name} {was!r} where {value!r} is asked for"
        for (name, was), (_, value) in zip(before, asked, strict=True)
        if was != value
    ]
    if differing:
        raise ConfigError(
            f"--start-from {str(run)!r} must hold the network that is to be trained, got "
            f"{', '.join(differing)}; repeat its settings (see its config.toml)."
        )
    return model
