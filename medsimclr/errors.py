"""Errors that a person can mend, and the exit code of each.

    MedSimCLRError            1   unexpected
    ├─ LostProcessError       1   another process of a joint training died or hangs; run again
    ├─ ConfigError            2   bad arguments or configuration
    │  ├─ LabelError          2   labels, slide tables and annotations
    │  ├─ SplitError          2   splits, leaked patients
    │  └─ PolicyError         2   augmentation policy not found or not usable
    ├─ PartlyDoneError        3   some inputs failed; the report lists them
    ├─ NoInputError           4   no input readable
    │  └─ SlideError          4   one slide cannot be used (tiling reports it and goes on)
    ├─ OutputError            5   output full or not writable
    ├─ LockedError            6   locked by another process
    ├─ IntegrityError         7   a stored byte is not what was written
    ├─ NonFiniteLossError     8   training diverged; stopped before the update
    ├─ UnsafeInputError       9   input refused because it could harm
    └─ CheckpointedError     75   stopped by a signal after a checkpoint; run again

A message says what was expected, what came, where, and what to do.
"""

from typing import ClassVar

__all__ = [
    "CheckpointedError",
    "ConfigError",
    "IntegrityError",
    "LabelError",
    "LockedError",
    "LostProcessError",
    "MedSimCLRError",
    "NoInputError",
    "NonFiniteLossError",
    "OutputError",
    "PartlyDoneError",
    "PolicyError",
    "SlideError",
    "SplitError",
    "UnsafeInputError",
]


class MedSimCLRError(Exception):
    """Base of every error that carries a sentence for the user."""

    exit_code: ClassVar[int] = 1
    is_echo = False
    """Whether another process of a joint training says the same sentence; then this one is mute."""


class LostProcessError(MedSimCLRError):
    """Another of the processes that train together died, hangs or failed."""


class ConfigError(MedSimCLRError):
    """Arguments or configuration are wrong."""

    exit_code = 2


class LabelError(ConfigError):
    """A label table, slide table or annotation is wrong."""


class SplitError(ConfigError):
    """A split is wrong; most of all, a patient on both sides of it."""


class PolicyError(ConfigError):
    """An augmentation policy cannot be found or used."""


class PartlyDoneError(MedSimCLRError):
    """Some inputs failed, the others are done."""

    exit_code = 3


class NoInputError(MedSimCLRError):
    """Nothing readable was given."""

    exit_code = 4


class SlideError(NoInputError):
    """One slide cannot be used."""


class OutputError(MedSimCLRError):
    """The output cannot be written."""

    exit_code = 5


class LockedError(MedSimCLRError):
    """Another process holds the output."""

    exit_code = 6


class IntegrityError(MedSimCLRError):
    """Stored bytes differ from what was written."""

    exit_code = 7


class NonFiniteLossError(MedSimCLRError):
    """The loss is not a finite number."""

    exit_code = 8


class UnsafeInputError(MedSimCLRError):
    """An input is refused because reading it could harm."""

    exit_code = 9


class CheckpointedError(MedSimCLRError):
    """A signal stopped the run after a checkpoint."""

    exit_code = 75
