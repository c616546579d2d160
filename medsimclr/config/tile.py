"""Configuration of `medsimclr tile`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from medsimclr.config.base import Argument, CommandConfig, Flag

__all__ = ["TileConfig"]


class TileConfig(CommandConfig):
    """Cut slides, image folders or CIFAR-10 files into a tile store."""

    inputs: Annotated[list[Path], Argument("SLIDES...")] = Field(min_length=1)
    """Slides, folders of slides, folders with a labels.csv, or CIFAR-10 .bin files."""
    out: Annotated[Path, Flag()]
    """The tile store to write; running the same command again resumes it."""
    mpp: Annotated[float | None, Flag()] = Field(default=None, ge=0.02, le=200)
    """Scale of the tiles, um/px; needed for slides. Without it images keep their own pixels."""
    tile_px: Annotated[int, Flag()] = Field(default=224, ge=8, le=4096)
    """Side of a tile, pixels."""
    annotations: Annotated[Path | None, Flag()] = None
    """Folder of <slide>.geojson annotations (QuPath), one for each annotated slide."""
    slides_csv: Annotated[Path | None, Flag()] = None
    """Table with the columns slide, and optionally patient, centre, mpp."""
    codec: Annotated[Literal["jpeg", "zstd", "raw"], Flag()] = "jpeg"
    """How tiles are stored; jpeg is small, zstd and raw keep every bit."""
    source_mpp: Annotated[float | None, Flag()] = Field(default=None, ge=0.01, le=100)
    """Scale of level 0, um/px, for inputs that state none themselves."""
    min_tissue: Annotated[float, Flag()] = Field(default=0.5, ge=0, le=1)
    """Share of a slide tile that must be tissue; 0.5 chosen here. Images of a folder are kept."""
    min_coverage: float = Field(default=0.5, gt=0, le=1)
    """Share of a tile that annotations of one class must cover for the tile to get its label."""
    jpeg_quality: int = Field(default=95, ge=50, le=100)
    """Quality of the jpeg codec, with 4:4:4 colour."""
    slide_column: str | None = None
    """Column of labels.csv that names the slide; default: the first of slide, group, patient."""
    workers: Annotated[int, Flag()] = Field(default=1, ge=1, le=256)
    """Slides read at once, each in a process of its own."""
    overwrite: Annotated[bool, Flag()] = False
    """Delete an existing store at --out first."""
    dry_run: Annotated[bool, Flag()] = False
    """Say what would be done and write nothing."""

    def identity(self) -> dict[str, Any]:
        """Return what can change a byte of the store: no paths, no number of workers."""
        names = ("mpp", "tile_px", "codec", "source_mpp", "min_tissue", "min_coverage")
        return self.model_dump(include={*names, "jpeg_quality", "slide_column"})
