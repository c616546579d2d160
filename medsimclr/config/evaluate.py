"""Configuration of `medsimclr evaluate`."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from medsimclr.config.base import Argument, CommandConfig, Flag

__all__ = ["EvaluateConfig"]


class EvaluateConfig(CommandConfig):
    """Test classifiers on patients never seen, beside baselines on the same labels."""

    runs: Annotated[list[Path], Argument("RUNS...")] = Field(min_length=1)
    """Fine-tuned or distilled runs; the labels and baselines are those of the first."""
    store: Annotated[Path, Flag()]
    """The tile store that holds the test patients."""
    out: Annotated[Path, Flag()]
    """Folder of the result; running the same command again goes on."""
    split: Annotated[Path | None, Flag()] = None
    """Table patient,split that names the test patients; default: that of the first run."""
    label_table: Annotated[Path | None, Flag()] = None
    """Table slide,label or slide,x,y,label that replaces the labels of the store."""
    baselines: Annotated[bool, Flag()] = True
    """Compute colour statistics, random encoder and supervised from scratch too."""
    bootstrap: int = Field(default=1000, ge=100)
    """Resamples of the patients."""
    batch_size: int = Field(default=256, ge=1)
    """Tiles at once."""
    seed: Annotated[int, Flag()] = Field(default=0, ge=0, lt=2**32)
    """Seed of the bootstrap, the random encoder and the linear probes."""
    device: Annotated[str, Flag()] = "auto"
    """auto, cpu, cuda or cuda:N."""
    workers: Annotated[int, Flag()] = Field(default=1, ge=0, le=256)
    """Processes that read tiles."""

    def identity(self) -> dict[str, Any]:
        """Return what decides the figures, without paths and machine."""
        machine = {"runs", "store", "out", "device", "workers", "split", "label_table"}
        return {key: value for key, value in self.record().items() if key not in machine}
