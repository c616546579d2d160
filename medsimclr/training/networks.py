"""Build networks from their description, and load them from a run.

The description is a small JSON value in the checkpoint's manifest, so that a run can be used
without its configuration.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import nn

from medsimclr.errors import ConfigError, IntegrityError
from medsimclr.models.projection_head import ProjectionHead
from medsimclr.models.resnet import ResNet
from medsimclr.models.simclr import Classifier, SimCLR
from medsimclr.training.checkpoint import check_fit, require_checkpoint
from medsimclr.training.checkpoint_files import Checkpoint

__all__ = [
    "Network",
    "build_classifier",
    "build_simclr",
    "load_classifier",
    "load_simclr",
    "parse_network",
]


Model = TypeVar("Model", bound=nn.Module)


class Network(BaseModel):
    """Description of a network and of the tiles that it was made for."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["simclr", "classifier"]
    depth: Literal[18, 34, 50, 101, 152, 200]
    width: int = Field(ge=1, le=4)
    selective_kernels: bool = False
    stem: Literal["standard", "small"]
    head_layers: int = Field(ge=1, le=6)
    view_px: int = Field(ge=8, le=1024)
    """Side of the views, pixels."""
    tile_px: int
    mpp: float | None
    """Scale of the tiles, um/px."""
    head_layer: int | None = None
    """Head layer that a classifier reads."""
    classes: list[str] = []
    """Class names of a classifier."""

    @model_validator(mode="after")
    def _says_what_a_classifier_needs(self) -> Self:
        layers = range(self.head_layers + 1)
        if self.kind == "classifier" and (self.head_layer not in layers or not self.classes):
            raise ValueError("a classifier has classes and reads a layer of the head")
        return self


def build_simclr(network: Network, *, seed: int) -> SimCLR:
    """Build encoder and projection head with weights drawn from the seed."""
    encoder, head = _encoder_and_head(network, seed=seed)
    return SimCLR(encoder, head)


def build_classifier(network: Network, *, seed: int) -> Classifier:
    """Build a classifier whose encoder and head layers are drawn from the seed."""
    encoder, head = _encoder_and_head(network, seed=seed)
    assert network.head_layer is not None
    return Classifier(encoder, head, head_layer=network.head_layer, n_classes=len(network.classes))


def load_simclr(run: Path, *, checkpoint: Checkpoint | None = None) -> tuple[SimCLR, Network]:
    """Load a checkpoint of a pretraining run, the newest where none is given.

    Raises:
        NoInputError: the run has no checkpoint.
        ConfigError: it is of another kind.
        IntegrityError: it is damaged.
    """
    checkpoint = checkpoint or require_checkpoint(run)
    network = _read(run, checkpoint, kind="simclr", advice="give the --out of pretrain")
    return _filled(lambda: build_simclr(network, seed=0), checkpoint, run), network


def load_classifier(
    run: Path, *, checkpoint: Checkpoint | None = None
) -> tuple[Classifier, Network]:
    """Load a checkpoint of a fine-tuned or distilled run; otherwise as `load_simclr`."""
    checkpoint = checkpoint or require_checkpoint(run)
    advice = "give the --out of finetune or distill"
    network = _read(run, checkpoint, kind="classifier", advice=advice)
    return _filled(lambda: build_classifier(network, seed=0), checkpoint, run), network


def _encoder_and_head(network: Network, *, seed: int) -> tuple[ResNet, ProjectionHead]:
    generator = torch.Generator().manual_seed(seed)
    encoder = ResNet(
        depth=network.depth,
        width=network.width,
        selective_kernels=network.selective_kernels,
        stem=network.stem,
        generator=generator,
    )
    head = ProjectionHead(
        in_dim=encoder.feature_dim, n_layers=network.head_layers, generator=generator
    )
    return encoder, head


def _read(run: Path, checkpoint: Checkpoint, *, kind: str, advice: str) -> Network:
    network = parse_network(checkpoint.network, run)
    if network.kind != kind:
        raise ConfigError(f"run {str(run)!r} must hold a {kind}, got a {network.kind}; {advice}.")
    return network


def parse_network(description: dict[str, Any], run: Path) -> Network:
    """Check the description in a manifest.

    Raises:
        IntegrityError: it is not one of ours.
    """
    try:
        return Network.model_validate(description)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise IntegrityError(
            f"run {str(run)!r} describes no network of ours: {where}{first['msg']}."
        ) from error


def _filled(build: Callable[[], Model], checkpoint: Checkpoint, run: Path) -> Model:
    """Build a network and load its weights; one that they do not fit takes no memory."""
    with torch.device("meta"):
        expected = build().state_dict()
    weights = checkpoint.weights(expected)
    check_fit(weights, expected, where=f"run {str(run)!r}")
    model = build()
    model.load_state_dict(weights)
    return model
