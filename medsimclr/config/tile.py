"""Configuration of `medsimclr tile`."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from medsimclr.config.base import Argument, CommandConfig, Flag
from medsimclr.config.stride import step_px_of

__all__ = ["ReaderName", "TileConfig"]

ReaderName = Literal["auto", "openslide", "monai:cucim", "monai:openslide", "monai:tifffile"]


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
    """Folder of annotations named <slide>.geojson or .json (QuPath) or <slide>.xml (ASAP or
    ImageScope), one for each annotated slide."""
    slides_csv: Annotated[Path | None, Flag()] = None
    """Table with the columns slide and patient, and optionally centre, mpp and alias."""
    codec: Annotated[Literal["jpeg", "zstd", "raw"], Flag()] = "jpeg"
    """How tiles are stored; jpeg is small, zstd and raw keep every bit."""
    source_mpp: Annotated[float | None, Flag()] = Field(default=None, ge=0.01, le=100)
    """Scale of level 0, um/px, for inputs that state none themselves; it overrules none that do."""
    stride_px: Annotated[int | None, Flag()] = Field(default=None, ge=1, le=65536)
    """Step from tile to tile, pixels of the tile's scale; default: the tile's side, so that tiles
    touch and do not overlap."""
    overlap_px: Annotated[int | None, Flag()] = Field(default=None, ge=0, le=4095)
    """Pixels that neighbouring tiles share; another way to say --stride-px."""
    edge: Annotated[Literal["drop", "pad"], Flag()] = "drop"
    """What becomes of the last row and column that the slide does not fill: dropped, or filled up
    with the slide's background colour."""
    reader: Annotated[ReaderName, Flag()] = "auto"
    """Who decodes slides; auto is OpenSlide with our faster path where it gives the same pixels."""
    min_tissue: Annotated[float, Flag()] = Field(default=0.5, ge=0, le=1)
    """Share of a slide tile that must be tissue; 0.5 chosen here. Images of a folder are kept."""
    max_ink: Annotated[float, Flag()] = Field(default=1.0, ge=0, le=1)
    """Share of a slide tile that pen ink may cover; 1 keeps all, the share is stored."""
    max_blank: Annotated[float, Flag()] = Field(default=1.0, ge=0, le=1)
    """Share of a slide tile that may be bare glass or dark ground; 1 keeps all."""
    min_focus: Annotated[float, Flag()] = Field(default=0.0, ge=0)
    """Least variance of the Laplacian, squared grey levels; 0 keeps all, the score is stored."""
    min_coverage: float = Field(default=0.5, gt=0, le=1)
    """Share of a tile that annotations of one class must cover for the tile to get its label."""
    jpeg_quality: int = Field(default=95, ge=50, le=100)
    """Quality of the jpeg codec, with 4:4:4 colour."""
    passthrough: bool = True
    """Whether the jpeg codec copies a slide's own JPEG tiles undecoded where the grids agree."""
    shard_tiles: int = Field(default=256, ge=1, le=4096)
    """Tiles in one shard file."""
    slide_column: str | None = None
    """Column of labels.csv that names the slide; default: the first of slide, group, patient."""
    preview: Annotated[Path | None, Flag()] = None
    """Folder for a picture of each slide: its mask, its tiles and what was left out."""
    workers: Annotated[int, Flag()] = Field(default=1, ge=1, le=256)
    """Slides read at once, each in a process of its own."""
    slide_memory_mb: int = Field(default=2048, ge=256)
    """Memory that one slide's process may take, MB; a slide that needs more is refused."""
    slide_seconds: float = Field(default=120.0, gt=0)
    """Longest time without a tile, seconds, after which a slide is given up and refused."""
    overwrite: Annotated[bool, Flag()] = False
    """Delete an existing store at --out first."""
    dry_run: Annotated[bool, Flag()] = False
    """Say what would be done and write nothing."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.preview is not None and self.preview.absolute().is_relative_to(self.out.absolute()):
            raise ValueError("--preview must lie outside of the store that --out names")
        if self.preview is not None and any(
            self.preview.absolute().is_relative_to(path.absolute()) for path in self.inputs
        ):
            raise ValueError("--preview must lie outside of the inputs, whose pictures are slides")
        _ = self.step_px  # raises where the two options do not fit
        return self

    @property
    def step_px(self) -> int:
        """Step from tile to tile, pixels of the tile's scale."""
        return step_px_of(
            tile_px=self.tile_px, stride_px=self.stride_px, overlap_px=self.overlap_px
        )

    def identity(self) -> dict[str, Any]:
        """Return what can change a byte of the store: no paths, no number of workers."""
        names = (
            "mpp", "tile_px", "codec", "source_mpp", "edge", "reader", "min_tissue", "max_ink",
            "max_blank", "min_focus", "min_coverage", "jpeg_quality", "passthrough",
            "shard_tiles", "slide_column",
        )  # fmt: skip
        return {**self.model_dump(include=set(names)), "stride_px": self.step_px}
