"""Configuration of `medsimclr inspect`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from medsimclr.config.base import Argument, CommandConfig, Flag
from medsimclr.config.stride import step_px_of
from medsimclr.config.tile import ReaderName

__all__ = ["InspectConfig"]


class InspectConfig(CommandConfig):
    """Print what is known of slides, and what tiling would make of them; nothing is written."""

    inputs: Annotated[list[Path], Argument("SLIDES...")] = Field(min_length=1)
    """Slides, or folders of slides."""
    mpp: Annotated[float, Flag()] = Field(default=0.5, ge=0.02, le=200)
    """Scale of the tiles, um/px, as tile would be given it."""
    tile_px: Annotated[int, Flag()] = Field(default=224, ge=8, le=4096)
    """Side of a tile, pixels."""
    stride_px: Annotated[int | None, Flag()] = Field(default=None, ge=1, le=65536)
    """Step from tile to tile, pixels of the tile's scale; default: the tile's side."""
    overlap_px: Annotated[int | None, Flag()] = Field(default=None, ge=0, le=4095)
    """Pixels that neighbouring tiles share; another way to say --stride-px."""
    edge: Annotated[Literal["drop", "pad"], Flag()] = "drop"
    """What becomes of the last row and column that the slide does not fill."""
    reader: Annotated[ReaderName, Flag()] = "auto"
    """Who decodes slides; auto is OpenSlide with our faster path where it gives the same pixels."""
    source_mpp: Annotated[float | None, Flag()] = Field(default=None, ge=0.01, le=100)
    """Scale of level 0, um/px, for slides that state none themselves."""
    min_tissue: float = Field(default=0.5, ge=0, le=1)
    """Share of a tile that must be tissue, as in tile."""
    jpeg_quality: int = Field(default=95, ge=50, le=100)
    """Quality of the jpeg codec for which bytes are estimated, as in tile."""
    workers: int = Field(default=1, ge=1, le=256)
    """Slides read at once, each in a process of its own."""
    slide_memory_mb: int = Field(default=2048, ge=256)
    """Memory that one slide's process may take, MB."""
    slide_seconds: float = Field(default=120.0, gt=0)
    """Longest time without progress, seconds, after which a slide is given up."""

    @model_validator(mode="after")
    def _has_one_stride(self) -> Self:
        _ = self.step_px  # raises where the two options do not fit
        return self

    @property
    def step_px(self) -> int:
        """Step from tile to tile, pixels of the tile's scale."""
        return step_px_of(
            tile_px=self.tile_px, stride_px=self.stride_px, overlap_px=self.overlap_px
        )
