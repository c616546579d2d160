"""Configuration of `medsimclr distill`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from medsimclr.config.base import Argument, Flag
from medsimclr.config.training import TrainingConfig

__all__ = ["DistillConfig"]


class DistillConfig(TrainingConfig):
    """Train a student on the teacher's predictions for unlabelled tiles (SimCLRv2, section 2)."""

    run: Annotated[Path, Argument("FINETUNE_RUN")]
    """The fine-tuned run that teaches."""
    depth: Annotated[Literal[18, 34, 50, 101, 152, 200], Flag()] = 18
    """Layers of the student's ResNet."""
    width: int = Field(default=1, ge=1, le=4)
    """Factor on the channels of the student."""
    selective_kernels: bool = False
    """Selective kernels in the student."""
    temperature: Annotated[float, Flag()] = Field(default=1.0, gt=0)
    """Temperature of both softmaxes."""
    policy: Annotated[str | None, Flag()] = None
    """Augmentation policy, its supervised views; default: the teacher's."""
    epochs: Annotated[int, Flag()] = Field(default=30, ge=1)
    """Passes over the unlabelled training tiles."""
    batch_size: Annotated[int, Flag()] = Field(default=128, ge=2)
    """Tiles in a step."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Weight decay, as in pretraining."""
