"""What the three trainings do alike: from a network, its gradients and tiles to a run directory."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import nn

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.policy import AugmentationPolicy
from medsimclr.config.distill import DistillConfig
from medsimclr.config.finetune import FinetuneConfig
from medsimclr.config.training import TrainingConfig
from medsimclr.data.order import BatchOrder
from medsimclr.data.split import Split
from medsimclr.data.tile_index import TileIndex
from medsimclr.data.views import RandomViewKind, TileViews, load_batches
from medsimclr.distributed.agreement import on_main
from medsimclr.distributed.group import Group, joined_group
from medsimclr.errors import ConfigError
from medsimclr.files.atomic import write_text
from medsimclr.models.batch_norm import synchronise_batch_norm
from medsimclr.training.compute import (
    Compute,
    choose_compute,
    compiled,
    keep_freed_memory,
    return_freed_memory,
    use_ieee_float32,
)
from medsimclr.training.loop import Accumulate, Batch, Observe, train
from medsimclr.training.networks import Network
from medsimclr.training.plan import build_optimizer, build_plan
from medsimclr.training.run_directory import Lineage, open_run, recorded_threads
from medsimclr.training.run_log import Progress

__all__ = [
    "Session",
    "check_batch_size",
    "inherited_policy",
    "load_share",
    "open_session",
    "share_of",
    "train_on_tiles",
]


class Session(NamedTuple):
    """Where a training computes and with whom."""

    compute: Compute
    group: Group


@contextmanager
def open_session(config: TrainingConfig) -> Iterator[Session]:
    """Choose device, precision and threads, and join the processes that torchrun started.

    Raises:
        ConfigError: the device is not here, or the batch does not fall into equal shares.
    """
    threads_before = torch.get_num_threads()
    torch.set_num_threads(config.threads or recorded_threads(config.out) or threads_before)
    compute = choose_compute(config)
    use_ieee_float32()
    (return_freed_memory if config.saves_memory() else keep_freed_memory)()
    try:
        with joined_group(compute.device, timeout_seconds=config.lost_process_seconds) as group:
            share_of("--batch-size", config.batch_size, group)
            yield Session(compute._replace(device=group.device), group)
    finally:
        torch.set_num_threads(threads_before)


def train_on_tiles(
    config: TrainingConfig,
    session: Session,
    *,
    module: nn.Module,
    accumulate: Accumulate,
    tiles: TileIndex,
    policy: AugmentationPolicy,
    kind: RandomViewKind,
    network: Network,
    lineage: Lineage,
    split: Split,
    progress: Progress,
    observe: Observe | None = None,
    tables: Mapping[str, str] | None = None,
) -> None:
    """Train a network on views of tiles, new or from the newest checkpoint of config.out.

    Args:
        config: output, schedule, optimiser, seed, workers.
        session: device, precision, processes.
        module: the network, on its device and in its mode.
        accumulate: gradient of a batch of views.
        tiles: what is trained on.
        policy: draws the views.
        kind: two contrastive views of a tile, or one supervised.
        network: description saved with the weights.
        lineage: recorded in the run directory, which must not hold another one.
        split: recorded in the run directory.
        progress: shows a line.
        observe: looks at the network after a step.
        tables: further files of the run directory, by name.
    """
    compute, group = session
    synchronise_batch_norm(module, group)
    compiled(module, enabled=config.compile)
    plan = build_plan(config, n_tiles=len(tiles), n_views=2 if kind == "contrastive" else 1)
    optimizer = build_optimizer(
        module, name=config.optimizer, lr=plan.peak_lr, weight_decay=config.weight_decay
    )

    def batches_from(step: int) -> Iterator[Batch]:
        return load_share(
            config,
            session,
            tiles=tiles,
            policy=policy,
            kind=kind,
            view_px=network.view_px,
            steps=range(step, plan.total_steps),
        )

    with ExitStack() as held:
        on_main(group, lambda: held.enter_context(_run(config, lineage, split, compute, tables)))
        train(
            config.out,
            module=module,
            optimizer=optimizer,
            accumulate=accumulate,
            batches_from=batches_from,
            plan=plan,
            network=network,
            group=group,
            observe=observe,
            progress=progress if group.is_main else _silent,
        )


def load_share(
    config: TrainingConfig,
    session: Session,
    *,
    tiles: TileIndex,
    policy: AugmentationPolicy,
    kind: RandomViewKind,
    view_px: int,
    steps: range,
) -> Iterator[Batch]:
    """Read this process's rows of the batches of some steps."""
    views = TileViews(
        config.store, tiles, kind=kind, policy=policy, view_px=view_px, seed=config.seed
    )
    compute, group = session
    order = BatchOrder(
        len(tiles),
        config.batch_size,
        config.seed,
        steps.start,
        steps.stop,
        rank=group.rank,
        size=group.size,
    )
    is_pinned = compute.device.type == "cuda"
    return load_batches(views, order, n_workers=config.workers, is_pinned=is_pinned)


@contextmanager
def _run(
    config: TrainingConfig,
    lineage: Lineage,
    split: Split,
    compute: Compute,
    tables: Mapping[str, str] | None,
) -> Iterator[None]:
    with open_run(config, lineage, split, compute=compute) as run:
        for name, text in (tables or {}).items():
            if not (run / name).is_file():
                write_text(run / name, text)
        yield


def _silent(done: int, total: int, line: str) -> None:
    """Leave speaking to the main process."""


def inherited_policy(
    config: FinetuneConfig | DistillConfig, before: Lineage
) -> tuple[str, AugmentationPolicy]:
    """Return name and policy that were asked for, or those of the run before with its fields."""
    if config.policy is not None:
        return config.policy, load_policy(config.policy, options=config.policy_options)
    fields = {**before.policy_record["fields"], **config.policy_options}
    return before.policy, load_policy(before.policy, options=fields)


def check_batch_size(config: TrainingConfig, tiles: TileIndex) -> None:
    """Refuse a batch larger than what there is to train on.

    Raises:
        ConfigError: naming both sizes.
    """
    if config.batch_size > len(tiles):
        raise ConfigError(
            f"--batch-size must be at most the {len(tiles)} training tiles, got "
            f"{config.batch_size}; lower it or tile more slides."
        )


def share_of(option: str, n_tiles: int, group: Group) -> int:
    """Return how many of `n_tiles` each process holds.

    Raises:
        ConfigError: they do not fall into equal shares; `option` is what the user gave.
    """
    if n_tiles % group.size:
        raise ConfigError(
            f"{option} must be a multiple of the {group.size} processes, got {n_tiles}; "
            f"give {n_tiles - n_tiles % group.size or group.size} or another number of processes."
        )
    return n_tiles // group.size
