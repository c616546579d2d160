"""`medsimclr pretrain`: encoder and projection head from unlabelled tiles.

Source: arXiv 2006.10029; `google-research/simclr` tf2/run.py. Two views of every tile of the batch,
NT-Xent over the batch, LARS with warm-up and cosine.
"""

from collections.abc import Callable, Mapping, Sequence

import torch

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.policy import policy_record
from medsimclr.config.batch_from import parse_batch_from
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.data.split import (
    Part,
    Split,
    draw_split,
    leak_note,
    read_split,
    strangers_note,
    untested_note,
)
from medsimclr.data.tile_index import TileIndex, patients_of
from medsimclr.errors import ConfigError, SplitError
from medsimclr.losses.nt_xent import nt_xent
from medsimclr.models.resnet import stem_for
from medsimclr.models.simclr import SimCLR
from medsimclr.store.schema import RootMeta
from medsimclr.training.checkpoint_files import Checkpoint
from medsimclr.training.compute import on_device, to_images
from medsimclr.training.gradient_cache import accumulate_cached
from medsimclr.training.health import Health, batch_figures, health_sample, report_interval
from medsimclr.training.inheritance import naming, starting_checkpoint, starting_network
from medsimclr.training.loop import Observe
from medsimclr.training.material import (
    BatchUnits,
    Material,
    batch_units,
    check_batch_size,
    open_material,
    patients_in,
)
from medsimclr.training.networks import Network
from medsimclr.training.run_directory import Lineage, read_lineage
from medsimclr.training.run_log import Progress, silent
from medsimclr.training.session import Session, open_session, share_of
from medsimclr.training.step import Accumulate, Batch
from medsimclr.training.tile_training import TileTraining, plan_of, train_on_tiles

__all__ = ["choose_split", "contrastive_gradient", "network_of", "prepare", "pretrain"]


def pretrain(
    config: PretrainConfig, *, progress: Progress = silent, source: Checkpoint | None = None
) -> int:
    """Pretrain on the training patients of a store, or go on where a run stopped.

    Returns after how many steps it went on, 0 for a new run.

    Args:
        config: the pretraining.
        progress: shows a line.
        source: of `config.start_from`; None: its newest checkpoint.

    Raises:
        ConfigError: settings, split or output do not fit.
        CheckpointedError, NonFiniteLossError: see `loop.train`.
    """
    with open_session(config) as session:
        training = prepare(config, session, progress=progress, source=source)
        return train_on_tiles(
            config,
            session,
            training,
            accumulate=contrastive_gradient(config, training.module, session),
            progress=progress,
            observe=_watch(config, session, training, progress),
        )


def prepare(
    config: PretrainConfig,
    session: Session,
    *,
    progress: Progress = silent,
    announce: Callable[[Network], None] = lambda network: None,
    source: Checkpoint | None = None,
) -> TileTraining[SimCLR]:
    """Open what a pretraining needs and build its network.

    Args:
        config: the pretraining.
        session: device, precision, processes.
        progress: shows a line.
        announce: is told of the network before there are weights, after the rest was checked.
        source: of `config.start_from`; None: its newest checkpoint.

    Raises:
        ConfigError: settings or split do not fit.
        NoInputError, IntegrityError: of the run to start from, see `require_checkpoint`.
    """
    policy = load_policy(config.policy, options=config.policy_options)
    material = open_material(config.store)
    split = choose_split(config, material)
    tiles = material.training_tiles(split, where=str(config.split or "drawn from the seed"))
    _tell_of_patients(config, split, material, progress)
    check_batch_size(config, tiles)
    units = _units(config, tiles, progress)
    network = network_of(config, material.store.meta)
    identity = config.identity() | {"precision": session.compute.precision}
    source = source or starting_checkpoint(config, group=session.group, progress=progress)
    announce(network)
    model = starting_network(config, network, source)
    if source is not None:
        identity |= {"run": source.identity()}
    lineage = Lineage(
        command="pretrain",
        store_sha256=material.sha256,
        policy=config.policy,
        policy_record=policy_record(policy),
        patients_unlabelled=sorted(
            {*_seen_before(config), *config.policy_fitted_on, *patients_in(tiles)}
        ),
        patients_labelled=[],
        policy_fitted_on=sorted(set(config.policy_fitted_on)),
        identity=identity,
    )
    return TileTraining(
        module=on_device(model, session.compute.device).train(),
        network=network,
        tiles=tiles,
        policy=policy,
        kind="contrastive",
        split=split,
        lineage=lineage,
        units=units,
    )


def _tell_of_patients(
    config: PretrainConfig, split: Split, material: Material, progress: Progress
) -> None:
    patients = patients_of(material.store)
    strangers = strangers_note(split, patients, where=str(config.split))
    fitted = leak_note(split, config.policy_fitted_on, what="the policy was fitted to")
    own = set(patients)
    seen = [patient for patient in _seen_before(config) if patient in own]
    before = leak_note(split, seen, what=f"run {str(config.start_from)!r} saw")
    for note in (strangers, untested_note(split, patients), fitted, before):
        if note is not None:
            progress(0, 0, note)


def _units(config: PretrainConfig, tiles: TileIndex, progress: Progress) -> BatchUnits | None:
    """Return and tell what batches take their tiles from; None without a wish."""
    if config.batch_from is None:
        return None
    wanted = parse_batch_from(config.batch_from, batch_size=config.batch_size)
    units = batch_units(config, tiles, wanted=wanted)
    progress(0, 0, units.line)
    return units


def network_of(config: PretrainConfig, meta: RootMeta) -> Network:
    """Describe the network that a configuration asks for on the tiles of a store."""
    return Network(
        kind="simclr",
        depth=config.depth,
        width=config.width,
        selective_kernels=config.selective_kernels,
        stem=stem_for(config.view_px) if config.stem == "auto" else config.stem,
        head_layers=config.head_layers,
        view_px=config.view_px,
        tile_px=meta.tile_px,
        mpp=meta.mpp,
    )


def choose_split(config: PretrainConfig, material: Material) -> Mapping[str, Part]:
    """Return the split that was given, or draw one by patient.

    A patient that the run to start from saw is not drawn for the test.

    Raises:
        SplitError: there are too few patients, or no test patient is left.
    """
    if config.split is not None:
        return read_split(config.split)
    if config.test_fraction == 0:
        return dict.fromkeys(patients_of(material.store), "train")
    drawn = draw_split(
        material.index.patient_N,
        material.index.label_N,
        test_fraction=config.test_fraction,
        seed=config.seed,
    )
    seen = _seen_before(config)
    split: dict[str, Part] = {
        patient: "train" if patient in seen else part for patient, part in drawn.items()
    }
    if "test" not in split.values():
        raise SplitError(
            f"run {str(config.start_from)!r} saw every patient that was drawn for the test; give "
            "--seed or --split of that run, or --test-fraction 0."
        )
    return split


def _seen_before(config: PretrainConfig) -> Sequence[str]:
    if config.start_from is None:
        return []
    with naming("--start-from"):
        return read_lineage(config.start_from).patients_unlabelled


def contrastive_gradient(config: PretrainConfig, model: SimCLR, session: Session) -> Accumulate:
    """Return the gradient of a batch of two views, with what is known of it without labels.

    Raises:
        ConfigError: the micro-batch does not fall into equal shares, or holds a single tile.
    """
    compute, group = session
    micro_batch = share_of("--micro-batch", config.micro_batch or 0, group)
    if micro_batch and config.micro_batch_norm == "micro":
        _check_no_tile_alone(config.batch_size // group.size, micro_batch)

    def accumulate(batch: Batch) -> Mapping[str, torch.Tensor]:
        views_VnHWC, _ = batch
        if micro_batch:
            figures, z_a_nP, z_b_nP = accumulate_cached(
                model,
                views_VnHWC,
                micro_batch=micro_batch,
                temperature=config.temperature,
                compute=compute,
                group=group,
                statistics=config.micro_batch_norm,
            )
        else:
            # Both views as one batch: batch norm sees their joint statistics, as in the reference.
            images_BCHW = to_images(views_VnHWC.flatten(0, 1), compute.device)
            with compute.autocast():
                z_a_nP, z_b_nP = model(images_BCHW).chunk(2)
            figures = nt_xent(z_a_nP, z_b_nP, temperature=config.temperature, group=group)
            figures.loss.backward()
        return {
            "loss": figures.loss.detach(),
            "accuracy": figures.accuracy,
            "entropy": figures.entropy,
            **batch_figures(z_a_nP.detach(), z_b_nP.detach(), group=group),
        }

    return accumulate


def _check_no_tile_alone(n_tiles: int, micro_batch: int) -> None:
    """Refuse a micro-batch of one tile: normalised by its two views, these are exact opposites."""
    alone = 1 in (micro_batch, n_tiles % micro_batch)
    if alone:
        raise ConfigError(
            f"--micro-batch must leave no tile alone with its batch norm, got {micro_batch} of the "
            f"{n_tiles} tiles that a process holds; choose one that divides them, 2 or more."
        )


def _watch(
    config: PretrainConfig,
    session: Session,
    training: TileTraining[SimCLR],
    progress: Progress,
) -> Observe:
    plan = plan_of(config, training)
    sample = health_sample(training.tiles, n_tiles=config.health_tiles, seed=config.seed)
    health = Health(
        training.module.encoder,
        store=config.store,
        sample=sample,
        view_px=config.view_px,
        device=session.compute.device,
        batch_size=config.batch_size,
        temperature=config.temperature,
        plan=plan,
        report_steps=report_interval(plan, n_reports=config.health_reports, n_tiles=len(sample)),
        run=config.out,
        progress=progress,
    )
    return health.observe
