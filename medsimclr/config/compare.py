"""Configuration of `medsimclr policies compare`."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from medsimclr.config.base import Argument, CommandConfig, Flag

__all__ = ["PolicyCompareConfig"]

# Decided by the comparison, so that every row gets the same.
_OURS = {
    "store", "out", "seed", "split", "test_fraction", "epochs", "view_px", "batch_size",
    "start_from", "find_temperature", "dry_run",
}  # fmt: skip


class PolicyCompareConfig(CommandConfig):
    """Pretrain with each policy for as many epochs, and judge the features on patients never seen.

    Run again, it goes on where it stopped; more policies or seeds are added to what is there.
    """

    policies: Annotated[list[str], Argument("POLICIES...")] = Field(default_factory=list)
    """Listed names, file.py:ClassName or file.yaml. A policy that can be fitted is fitted to the
    training patients of each seed, whatever statistics it has."""
    store: Annotated[Path, Flag()]
    """Tile store with labels of two classes or more."""
    out: Annotated[Path, Flag()]
    """Folder for runs, figures, table and picture."""
    epochs: Annotated[int, Flag()] = Field(default=30, ge=1)
    """Budget of every pretraining: passes over the training tiles."""
    seeds: Annotated[int, Flag()] = Field(default=3, ge=1, le=100)
    """Repetitions, each with its own test patients, weights and order."""
    view_px: Annotated[int, Flag()] = Field(default=64, ge=8, le=1024)
    """Side of a view, pixels."""
    batch_size: Annotated[int, Flag()] = Field(default=128, ge=2)
    """Tiles in a step."""
    folds: Annotated[int, Flag()] = Field(default=3, ge=2, le=100)
    """Parts of the patients; each seed keeps the next for the test, so that as many seeds as folds
    test every patient once."""
    unseen_centre: Annotated[str | None, Flag()] = None
    """A centre whose patients are kept out of everything and tested on apart."""
    unseen_store: Annotated[Path | None, Flag()] = None
    """A store with the same classes, of another tissue or hospital, that is tested on apart."""
    pretrain: dict[str, Any] = Field(default_factory=dict)
    """Settings of pretrain for all rows, as in --set pretrain.depth=50."""
    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Further rows by name, each with settings of pretrain, as in --set
    'variants.strong={policy="stain_jitter", policy_options={gain_sigma=0.4}}'."""

    @model_validator(mode="after")
    def _rows_are_comparable(self) -> Self:
        taken = set(self.policies) & self.variants.keys()
        if taken:
            raise ValueError(f"variants must have names of their own, got {min(taken)!r} twice")
        for where, settings in {"pretrain": self.pretrain, **self.variants}.items():
            given = _OURS & settings.keys()
            if given:
                raise ValueError(
                    f"{where} must leave alone what is the same for every row, got {min(given)!r}; "
                    "an option of policies compare sets it, if any"
                )
        if "policy" in self.pretrain:
            raise ValueError("pretrain must not set the policy, which is what is compared")
        if None not in (self.unseen_centre, self.unseen_store):
            raise ValueError("give either --unseen-centre or --unseen-store, got both")
        return self

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the settings of pretrain by the name of the row."""
        named = {policy: {"policy": policy} for policy in dict.fromkeys(self.policies)}
        return {
            name: {**self.pretrain, **settings}
            for name, settings in {**named, **self.variants}.items()
        }
