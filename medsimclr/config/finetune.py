"""Configuration of `medsimclr finetune`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from medsimclr.config.base import Argument, Flag
from medsimclr.config.training import TrainingConfig

__all__ = ["FinetuneConfig"]


class FinetuneConfig(TrainingConfig):
    """Train a classifier from a pretrained run and a few labels."""

    run: Annotated[Path, Argument("PRETRAIN_RUN")]
    """The pretraining run to start from."""
    labels: Annotated[int, Flag()] = Field(default=500, ge=2)
    """How many tiles are labelled, chosen evenly over classes and training patients."""
    label_table: Annotated[Path | None, Flag()] = None
    """Table slide,label or slide,x,y,label that replaces the labels of the store."""
    classes: Annotated[list[str] | None, Flag()] = None
    """Class to tell apart, repeatable; default: all that the labels have."""
    head_layer: Annotated[int, Flag()] = Field(default=1, ge=0)
    """Layer of the projection head to start from; 0 is the encoder (SimCLRv2: 1 for few labels)."""
    freeze: Annotated[bool, Flag()] = False
    """Train the last layer alone."""
    init: Literal["pretrained", "random"] = "pretrained"
    """random is the baseline: the same network and recipe from scratch."""
    policy: Annotated[str | None, Flag()] = None
    """Augmentation policy, its supervised views; default: the one of the pretraining run."""
    batch_size: Annotated[int, Flag()] = Field(default=64, ge=2)
    """Tiles in a step."""
    epochs: Annotated[int, Flag()] = Field(default=60, ge=1)
    """Passes over the labelled tiles; SimCLRv2 takes 60 for 1 % of the labels."""
    base_lr: float = Field(default=0.005, gt=0)
    """Learning rate before scaling; SimCLRv2 takes 0.005 * sqrt(batch)."""
    warmup_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the epochs with a rising learning rate; none in SimCLRv2."""
