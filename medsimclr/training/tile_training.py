"""What the three trainings do alike: from a network, its gradient and tiles to a run directory."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import nn

from medsimclr.augment.policy import AugmentationPolicy
from medsimclr.config.training import TrainingConfig
from medsimclr.data.order import BatchOrder, Sample
from medsimclr.data.split import Split
from medsimclr.data.tile_index import TileIndex
from medsimclr.data.unit_order import UnitOrder
from medsimclr.data.views import RandomViewKind, TileViews, load_batches
from medsimclr.distributed.agreement import on_main
from medsimclr.files.atomic import write_text
from medsimclr.models.batch_norm import synchronise_batch_norm
from medsimclr.models.simclr import Classifier, SimCLR
from medsimclr.training.compute import compiled
from medsimclr.training.crowding import Crowding
from medsimclr.training.loop import Observe, train
from medsimclr.training.material import BatchUnits
from medsimclr.training.networks import Network
from medsimclr.training.plan import Plan, build_optimizer, build_plan
from medsimclr.training.run_directory import Lineage, open_run
from medsimclr.training.run_log import Progress
from medsimclr.training.session import Session
from medsimclr.training.step import Accumulate, Batch

__all__ = ["TileTraining", "load_share", "plan_of", "set_up", "train_on_tiles"]

Module = TypeVar("Module", SimCLR, Classifier)


@dataclass(frozen=True, kw_only=True)
class TileTraining(Generic[Module]):
    """A network and the tiles that it is to be trained on; checked, not begun."""

    module: Module
    """On its device and in its mode."""
    network: Network
    """Description saved with the weights."""
    tiles: TileIndex
    policy: AugmentationPolicy
    """Draws the views."""
    kind: RandomViewKind
    """Two contrastive views of a tile, or one supervised."""
    split: Split
    lineage: Lineage
    """Both recorded in the run directory, which must not hold another run."""
    tables: Mapping[str, str] = field(default_factory=dict)
    """Further files of the run directory, by name."""
    units: BatchUnits | None = None
    """What a batch takes its tiles from; None: all tiles alike."""


def train_on_tiles(
    config: TrainingConfig,
    session: Session,
    training: TileTraining[Module],
    *,
    accumulate: Accumulate,
    progress: Progress,
    observe: Observe | None = None,
) -> int:
    """Train a network on views of tiles, new or from the newest checkpoint of config.out.

    Returns after how many steps it went on, 0 for a new run.

    Args:
        config: output, schedule, optimiser, seed, workers.
        session: device, precision, processes.
        training: what is trained on what.
        accumulate: gradient of a batch of views.
        progress: shows a line.
        observe: looks at the network after a step.
    """
    plan, optimizer = set_up(config, session, training)
    group = session.group
    crowding = Crowding(n_threads=torch.get_num_threads())

    def watch(step: int, figures: Mapping[str, float]) -> tuple[Mapping[str, float], list[str]]:
        advice = crowding.after_step() if step > 0 else None
        if advice is not None:
            progress(0, 0, advice)
        return observe(step, figures) if observe is not None else ({}, [])

    with ExitStack() as held:
        on_main(group, lambda: held.enter_context(_run(config, session, training)))
        return train(
            config.out,
            module=training.module,
            optimizer=optimizer,
            accumulate=accumulate,
            batches_from=lambda step: load_share(
                config, session, training, range(step, plan.total_steps)
            ),
            plan=plan,
            network=training.network,
            group=group,
            observe=watch,
            progress=progress,
        )


def plan_of(config: TrainingConfig, training: TileTraining[Module]) -> Plan:
    """Return the plan of a training."""
    n_views = 2 if training.kind == "contrastive" else 1
    return build_plan(config, n_tiles=len(training.tiles), n_views=n_views)


def set_up(
    config: TrainingConfig, session: Session, training: TileTraining[Module]
) -> tuple[Plan, torch.optim.Optimizer]:
    """Prepare the network for its first step; return the plan and the optimiser."""
    module: nn.Module = training.module
    training.module.encoder.recompute = config.recompute
    synchronise_batch_norm(module, session.group)
    compiled(module, enabled=config.compile)
    plan = plan_of(config, training)
    optimizer = build_optimizer(
        module, name=config.optimizer, lr=plan.peak_lr, weight_decay=config.weight_decay
    )
    return plan, optimizer


def load_share(
    config: TrainingConfig, session: Session, training: TileTraining[Module], steps: range
) -> Iterator[Batch]:
    """Read this process's rows of the batches of some steps."""
    views = TileViews(
        config.store,
        training.tiles,
        kind=training.kind,
        policy=training.policy,
        view_px=training.network.view_px,
        seed=config.seed,
    )
    is_pinned = session.compute.device.type == "cuda"
    order = _order(config, session, training, steps)
    return load_batches(views, order, n_workers=config.workers, is_pinned=is_pinned)


def _order(
    config: TrainingConfig, session: Session, training: TileTraining[Module], steps: range
) -> Iterable[list[Sample]]:
    own = {
        "batch_size": config.batch_size,
        "seed": config.seed,
        "start_step": steps.start,
        "stop_step": steps.stop,
        "rank": session.group.rank,
        "size": session.group.size,
    }
    if training.units is None:
        return BatchOrder(n_tiles=len(training.tiles), **own)
    units = training.units
    return UnitOrder(units=units.tiles, n_units=units.n_per_batch, **own)


@contextmanager
def _run(
    config: TrainingConfig, session: Session, training: TileTraining[Module]
) -> Iterator[None]:
    compute, group = session
    with open_run(
        config, training.lineage, training.split, compute=compute, n_processes=group.size
    ) as run:
        for name, text in training.tables.items():
            if not (run / name).is_file():
                write_text(run / name, text)
        yield
