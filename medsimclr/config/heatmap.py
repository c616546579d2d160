"""Configuration of `medsimclr heatmap`."""

from pathlib import Path
from typing import Annotated

from medsimclr.config.base import Argument, CommandConfig, Flag

__all__ = ["HeatmapConfig"]


class HeatmapConfig(CommandConfig):
    """Draw what a classifier sees on a slide beside its annotation."""

    run: Annotated[Path, Argument("RUN")]
    """A fine-tuned or distilled run."""
    store: Annotated[Path, Flag()]
    """The tile store that holds the slide."""
    slide: Annotated[str, Flag()]
    """Name of the slide in the store."""
    out: Annotated[Path, Flag()]
    """The picture to write, .png."""
    class_name: Annotated[str | None, Flag()] = None
    """Class whose probability is drawn; default: the last one."""
    device: Annotated[str, Flag()] = "auto"
    """auto, cpu, cuda or cuda:N."""
