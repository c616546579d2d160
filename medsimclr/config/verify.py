"""Configuration of `medsimclr verify`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from medsimclr.config.base import Argument, CommandConfig, Flag

__all__ = ["VerifyConfig"]


class VerifyConfig(CommandConfig):
    """Read every byte of a tile store, name what is damaged, and redo it if asked."""

    store: Annotated[Path, Argument("STORE")]
    """The tile store."""
    inputs: Annotated[list[Path], Argument("[SLIDES]...")] = Field(default_factory=list)
    """With --repair: the slides that the store was made of, as they were given to `tile`."""
    repair: Annotated[bool, Flag()] = False
    """Make the damaged files anew from SLIDES; all others stay as they are."""
    annotations: Annotated[Path | None, Flag()] = None
    """With --repair: as it was given to `tile`."""
    slides_csv: Annotated[Path | None, Flag()] = None
    """With --repair: as it was given to `tile`."""
    slide_memory_mb: int = Field(default=2048, ge=256)
    """With --repair: memory that one slide's process may take, MB."""
    slide_seconds: float = Field(default=120.0, gt=0)
    """With --repair: longest time without a tile, seconds."""
    workers: Annotated[int, Flag()] = Field(default=1, ge=1, le=256)
    """With --repair: slides read at once, each in a process of its own."""
