"""What a store asks of every slide: how it is cut, and which tiles are kept."""

from dataclasses import dataclass
from typing import Literal, Self

from medsimclr.config.tile import ReaderName, TileConfig

__all__ = ["Cut", "Limits"]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How slides are cut."""

    target_mpp: float
    tile_px: int
    step_px: int
    edge: Literal["drop", "pad"] = "drop"
    reader: ReaderName = "auto"
    may_copy: bool = False
    """Whether tiles may be stored as the slide's own JPEG, without a focus score."""

    @classmethod
    def of(cls, config: TileConfig, *, target_mpp: float) -> Self:
        """Return the cut that a configuration asks for."""
        return cls(
            target_mpp=target_mpp,
            tile_px=config.tile_px,
            step_px=config.step_px,
            edge=config.edge,
            reader=config.reader,
            # What is not decoded has no focus to be judged by.
            may_copy=config.passthrough and config.codec == "jpeg" and config.min_focus == 0,
        )


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Which tiles are kept, and which get a label; shares of a tile, and a focus score."""

    min_tissue: float = 0.5
    max_ink: float = 1.0
    max_blank: float = 1.0
    min_focus: float = 0.0
    min_coverage: float = 0.5

    @classmethod
    def of(cls, config: TileConfig) -> Self:
        """Return the limits that a configuration asks for."""
        return cls(
            min_tissue=config.min_tissue,
            max_ink=config.max_ink,
            max_blank=config.max_blank,
            min_focus=config.min_focus,
            min_coverage=config.min_coverage,
        )
