"""Configuration of `medsimclr policies`."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from medsimclr.config.base import CommandConfig, Flag

__all__ = ["PoliciesConfig"]


class PoliciesConfig(CommandConfig):
    """List the augmentation policies, or draw what one does to the tiles of a store."""

    store: Annotated[Path | None, Flag()] = None
    """Tile store to draw views of; without it the policies are listed."""
    policy: Annotated[str | None, Flag()] = None
    """Draw this policy alone: a listed name, or file.py:ClassName; default: every listed one."""
    out: Annotated[Path, Flag()] = Path("policies")
    """Folder for one contact sheet per policy."""
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
