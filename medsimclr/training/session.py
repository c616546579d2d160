"""What the three trainings do alike: from a network, a loss and tiles to a run directory."""

from collections.abc import Mapping

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
from medsimclr.errors import ConfigError
from medsimclr.files.atomic import write_text
from medsimclr.training.compute import Compute
from medsimclr.training.loop import Loss, build_optimizer, build_plan, train
from medsimclr.training.networks import Network
from medsimclr.training.run_directory import Lineage, open_run
from medsimclr.training.run_log import Progress

__all__ = ["check_batch_size", "inherited_policy", "train_on_tiles"]


def train_on_tiles(
    config: TrainingConfig,
    *,
    module: nn.Module,
    loss_of: Loss,
    tiles: TileIndex,
    policy: AugmentationPolicy,
    kind: RandomViewKind,
    network: Network,
    lineage: Lineage,
    split: Split,
    compute: Compute,
    progress: Progress,
    tables: Mapping[str, str] | None = None,
) -> None:
    """Train a network on views of tiles, new or from the newest checkpoint of config.out.

    Args:
        config: output, schedule, optimiser, seed, workers.
        module: the network, on its device and in its mode.
        loss_of: loss of a batch of views.
        tiles: what is trained on.
        policy: draws the views.
        kind: two contrastive views of a tile, or one supervised.
        network: description saved with the weights.
        lineage: recorded in the run directory, which must not hold another one.
        split: recorded in the run directory.
        compute: device and precision.
        progress: shows a line.
        tables: further files of the run directory, by name.
    """
    n_views = 2 if kind == "contrastive" else 1
    plan = build_plan(config, n_tiles=len(tiles), n_views=n_views)
    optimizer = build_optimizer(
        module, name=config.optimizer, lr=plan.peak_lr, weight_decay=config.weight_decay
    )
    views = TileViews(
        config.store, tiles, kind=kind, policy=policy, view_px=network.view_px, seed=config.seed
    )
    with open_run(config, lineage, split, compute=compute) as run:
        for name, text in (tables or {}).items():
            if not (run / name).is_file():
                write_text(run / name, text)
        train(
            run,
            module=module,
            optimizer=optimizer,
            loss_of=loss_of,
            batches_from=lambda step: load_batches(
                views,
                BatchOrder(len(tiles), config.batch_size, config.seed, step, plan.total_steps),
                n_workers=config.workers,
                is_pinned=compute.device.type == "cuda",
            ),
            plan=plan,
            network=network,
            progress=progress,
        )


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
