"""Configuration of `medsimclr pretrain`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from medsimclr.config.base import Argument, Flag
from medsimclr.config.training import TrainingConfig

__all__ = ["PretrainConfig"]


class PretrainConfig(TrainingConfig):
    """Train encoder and projection head without labels, by SimCLRv2 (arXiv 2006.10029)."""

    store: Annotated[Path, Argument("STORE")]
    """The tile store to train on."""
    policy: Annotated[str, Flag()] = "stain_jitter"
    """Augmentation policy: a name that `medsimclr policies` lists, or file.py:ClassName."""
    depth: Annotated[Literal[18, 34, 50], Flag()] = 18
    """Layers of the ResNet; 18 is what a CPU can train (chosen here, see DECISIONS.md)."""
    width: int = Field(default=1, ge=1, le=4)
    """Factor on the channels of the ResNet."""
    head_layers: int = Field(default=3, ge=1, le=6)
    """Layers of the projection head; SimCLRv2 takes 3."""
    view_px: Annotated[int, Flag()] = Field(default=96, ge=8, le=1024)
    """Side of a view, pixels; views of 32 px or less get the small stem."""
    temperature: Annotated[float, Flag()] = Field(default=0.1, gt=0)
    """Temperature of NT-Xent; SimCLRv2 takes 0.1."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Weight decay; SimCLRv2 takes 1e-4."""
    split: Annotated[Path | None, Flag()] = None
    """Table patient,split with train and test; default: drawn by patient from the seed."""
    test_fraction: Annotated[float, Flag()] = Field(default=0.25, ge=0, lt=1)
    """Share of the patients kept for the test; 0 trains on all and makes tests transductive."""
