"""Configurations of `medsimclr policies` and its sub-commands."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from medsimclr.config.base import Argument, CommandConfig, Flag

__all__ = [
    "PoliciesConfig",
    "PolicyCheckConfig",
    "PolicyFitConfig",
    "PolicyShowConfig",
    "PolicySuggestConfig",
]


class PoliciesConfig(CommandConfig):
    """List the augmentation policies that are installed, with a line on each."""


class PolicyCheckConfig(CommandConfig):
    """Hold a policy to every rule of the contract, and say what to mend."""

    policy: Annotated[str, Argument("POLICY")]
    """A listed name, file.py:ClassName, or a saved albumentations pipeline, file.yaml."""
    policy_options: dict[str, Any] = Field(default_factory=dict)
    """Fields of the policy to change, as in --set policy_options.strength=0.5."""
    view_px: Annotated[int, Flag()] = Field(default=40, ge=8, le=1024)
    """Side of the views that are looked at, pixels."""


class PolicyFitConfig(CommandConfig):
    """Fit a policy to the slides of a store, and write a file for pretrain --config.

    Without --split all slides are fitted to, and the statistics of test patients leak. The file
    names the patients, so that a later evaluation knows whom the training has seen.
    """

    policy: Annotated[str, Argument("POLICY")]
    """A policy with a classmethod fit: a listed name, or file.py:ClassName."""
    store: Annotated[Path, Flag()]
    """Tile store whose slides are fitted to."""
    out: Annotated[Path, Flag()]
    """TOML file to write, for pretrain --config."""
    split: Annotated[Path | None, Flag()] = None
    """Table patient,split: training patients alone are fitted to; default: all, test ones too."""
    policy_options: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the policy to set in the file, as in --set policy_options.strength=0.5."""
    tiles: int = Field(default=32, ge=1, le=1024)
    """Tiles of each slide, spread evenly over it (chosen here: a few dozen are enough)."""
    seed: Annotated[int, Flag()] = Field(default=0, ge=0, lt=2**32)
    """Chooses the tiles."""
    overwrite: Annotated[bool, Flag()] = False
    """Replace a file at --out that holds something else."""


class PolicyShowConfig(CommandConfig):
    """Draw what a policy does to the tiles of a store, and to what extent at which strength."""

    policy: Annotated[str | None, Argument("[POLICY]")] = None
    """A listed name, file.py:ClassName, or file.yaml; default: a picture of every listed one."""
    store: Annotated[Path, Flag()]
    """Tile store to draw views of."""
    out: Annotated[Path, Flag()] = Path("policies")
    """Folder for one picture per policy."""
    policy_options: dict[str, Any] = Field(default_factory=dict)
    """Fields of the policy to change, as in --set policy_options.strength=0.5."""
    view_px: Annotated[int, Flag()] = Field(default=96, ge=8, le=1024)
    """Side of a view, pixels."""
    tiles: int = Field(default=6, ge=1, le=64)
    """Rows of the sheet."""
    views: int = Field(default=6, ge=1, le=32)
    """Views of each kind in a row."""
    seed: Annotated[int, Flag()] = Field(default=0, ge=0, lt=2**32)
    """Chooses tiles and views."""
    reach_tiles: int = Field(default=40, ge=2, le=1024)
    """Tiles of each centre, patient or slide whose stains are compared."""
    reach_views: int = Field(default=8, ge=1, le=64)
    """Views of each of these."""


class PolicySuggestConfig(CommandConfig):
    """Measure how far apart the stains of a store lie, and suggest strengths that cover them.

    Compared are centres; patients or slides, where no two centres are known.
    """

    store: Annotated[Path, Flag()]
    """Tile store whose stains are compared."""
    out: Annotated[Path, Flag()] = Path("suggest.png")
    """Picture to write, that shows why."""
    split: Annotated[Path | None, Flag()] = None
    """Table patient,split: training patients alone are looked at; default: all, test ones too."""
    view_px: int = Field(default=96, ge=8, le=1024)
    """Side to which tiles are resized before views are drawn of them, pixels."""
    tiles: int = Field(default=128, ge=2, le=1024)
    """Tiles of each centre, patient or slide, spread evenly over it."""
    views: int = Field(default=4, ge=1, le=64)
    """Views of each tile, to see what a policy covers."""
    seed: Annotated[int, Flag()] = Field(default=0, ge=0, lt=2**32)
    """Chooses tiles and views."""
