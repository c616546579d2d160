"""Configuration of `medsimclr demo`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from medsimclr.config.base import CommandConfig, Flag

__all__ = ["DemoConfig"]


class DemoConfig(CommandConfig):
    """Make synthetic slides and take them through the whole path: a classifier in minutes."""

    out: Annotated[Path, Flag()] = Path("medsimclr-demo")
    """Folder for everything that the demo makes; another one for --smoke."""
    smoke: Annotated[bool, Flag()] = False
    """A few steps of everything, within a minute: does it run at all?"""
    seed: Annotated[int, Flag()] = Field(default=0, ge=0, lt=2**32)
    """Decides slides, split and training."""
    workers: Annotated[int, Flag()] = Field(default=1, ge=0, le=256)
    """Processes that read and augment tiles."""
