"""Configuration of `medsimclr pretrain`."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from medsimclr.config.base import Argument, Flag
from medsimclr.config.batch_from import parse_batch_from
from medsimclr.config.training import TrainingConfig

__all__ = ["PretrainConfig"]


# What is watched and asked for, not what is trained.
_ASIDE = {
    "health_tiles",
    "health_reports",
    "find_temperature",
    "temperatures",
    "trial_epochs",
    "dry_run",
}


class PretrainConfig(TrainingConfig):
    """Train encoder and projection head without labels, by SimCLRv2 (arXiv 2006.10029)."""

    store: Annotated[Path, Argument("STORE")]
    """The tile store to train on."""
    start_from: Annotated[Path | None, Flag()] = None
    """Pretraining run whose weights to begin with, of the same network; patients that it saw are
    never drawn for the test. Default: weights drawn from the seed."""
    policy: Annotated[str, Flag()] = "stain_jitter"
    """Augmentation policy: a name that `medsimclr policies` lists, file.py:ClassName, or a saved
    albumentations pipeline, file.yaml."""
    depth: Annotated[Literal[18, 34, 50, 101, 152, 200], Flag()] = 18
    """Layers of the ResNet; 18 is what a CPU can train (chosen here, see DECISIONS.md)."""
    width: Annotated[int, Flag()] = Field(default=1, ge=1, le=4)
    """Factor on the channels of the ResNet."""
    selective_kernels: Annotated[bool, Flag()] = False
    """Selective kernels in bottlenecks, with the stem and shortcut of ResNet-D."""
    stem: Literal["auto", "standard", "small"] = "auto"
    """standard begins with 7x7/2 and a max-pool, small with 3x3/1 and none; auto is the reference's
    rule: small up to views of 32 px (chosen for tissue too, see DECISIONS.md)."""
    head_layers: int = Field(default=3, ge=1, le=6)
    """Layers of the projection head; SimCLRv2 takes 3."""
    view_px: Annotated[int, Flag()] = Field(default=96, ge=8, le=1024)
    """Side of a view, pixels."""
    temperature: Annotated[float, Flag()] = Field(default=0.1, gt=0)
    """Temperature of NT-Xent; SimCLRv2 takes 0.1."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Weight decay; SimCLRv2 takes 1e-4."""
    micro_batch: Annotated[int | None, Flag()] = Field(default=None, ge=1)
    """Tiles that are held at once, over all processes: the loss and gradient of the whole batch in
    the memory of this many (gradient caching), at the cost of a second forward pass. Batch norm
    sees this many tiles alone, unless `--set micro_batch_norm=frozen`."""
    micro_batch_norm: Literal["micro", "frozen"] = "micro"
    """What batch norm sees under micro_batch: the statistics of each micro-batch, or the moving
    statistics, which never change then: only together with --start-from."""
    batch_from: Annotated[str | None, Flag()] = None
    """patients=K or slides=K: each batch takes equal parts of K patients or slides only, so that
    stain does not tell its negatives apart. Default: every batch of all tiles."""
    health_tiles: int = Field(default=512, ge=0)
    """Training tiles that effective rank and online kNN are measured on; 0 measures neither."""
    health_reports: int = Field(default=20, ge=1)
    """How often that is done in a run."""
    find_temperature: Annotated[bool, Flag()] = False
    """Compare the temperatures by short runs below --out and print a table, instead of training."""
    temperatures: list[Annotated[float, Field(gt=0)]] = Field(
        default=[0.05, 0.1, 0.2, 0.5, 1.0], min_length=1
    )
    """Temperatures to compare."""
    trial_epochs: int = Field(default=5, ge=1)
    """Passes over the training tiles in each of the short runs."""
    dry_run: Annotated[bool, Flag()] = False
    """Check everything, say what would be trained and how long, and write nothing."""
    split: Annotated[Path | None, Flag()] = None
    """Table patient,split with train and test; default: drawn by patient from the seed."""
    test_fraction: Annotated[float, Flag()] = Field(default=0.25, ge=0, lt=1)
    """Share of the patients kept for the test; 0 trains on all and makes tests transductive."""

    @model_validator(mode="after")
    def _options_fit_together(self) -> Self:
        if self.micro_batch is not None and self.micro_batch > self.batch_size:
            raise ValueError(
                f"--micro-batch must be at most the --batch-size of {self.batch_size}, got "
                f"{self.micro_batch}; leave it out to compute the batch at once"
            )
        if self.micro_batch_norm == "frozen" and None in (self.micro_batch, self.start_from):
            raise ValueError(
                "micro_batch_norm=frozen needs both --micro-batch and --start-from, got not both: "
                "the moving statistics of drawn weights say nothing; add what is missing"
            )
        # Its default says nothing: runs of earlier versions recorded it beside their split.
        is_fraction_default = self.test_fraction == type(self).model_fields["test_fraction"].default
        if self.split is not None and not is_fraction_default:
            raise ValueError(
                f"give either --split or --test-fraction, got {str(self.split)!r} and "
                f"{self.test_fraction:g}: the table alone says who is kept for the test; leave one "
                "out"
            )
        if self.dry_run and self.find_temperature:
            raise ValueError("give either --dry-run or --find-temperature, got both")
        if self.batch_from is not None:
            parse_batch_from(self.batch_from, batch_size=self.batch_size)
        return self

    def record(self) -> dict[str, Any]:
        """Return the configuration, without a share that a split table makes void."""
        left_out = set() if self.split is None else {"test_fraction"}
        return {key: value for key, value in super().record().items() if key not in left_out}

    def identity(self) -> dict[str, Any]:
        """Return what decides the numbers of the run; see `TrainingConfig.identity`."""
        kept = {key: value for key, value in super().identity().items() if key not in _ASIDE}
        # Runs under a split had it before it was left out of the record, and still go on.
        return kept | {"test_fraction": self.test_fraction}

    def saves_memory(self) -> bool:
        """Tell whether memory was asked to be saved at the cost of time."""
        return super().saves_memory() or self.micro_batch is not None
