"""One process acts for all, and all learn how it went.

Without this the others would wait for a process that has already stopped with an error.
"""

import json
from collections.abc import Callable
from typing import TypeVar, cast

import torch

from medsimclr import errors
from medsimclr.distributed.group import Group
from medsimclr.errors import LostProcessError, MedSimCLRError

__all__ = ["on_main"]

_Scalar = TypeVar("_Scalar", bound=bool | int | float | str | None)


def on_main(group: Group, action: Callable[[], _Scalar]) -> _Scalar:
    """Let the main process act while the others wait; return what it returned in all of them.

    Args:
        group: the processes.
        action: called in the main process alone; must end within the group's timeout.

    Raises:
        MedSimCLRError: in every process of the same class and with the same sentence, if the action
            raised it in the main one.
        LostProcessError: in the other processes, if it raised anything else.
    """
    if group.size == 1:
        return action()
    if not group.is_main:
        return cast(_Scalar, _learned(_told(group, "")))
    try:
        value = action()
    except MedSimCLRError as error:
        _told(group, json.dumps({"error": _public_name(error), "sentence": str(error)}))
        raise
    except Exception as error:
        sentence = (
            f"process 1 of {group.size}, which acts for all, failed with "
            f"{type(error).__name__}: {error}"
        )
        _told(group, json.dumps({"error": LostProcessError.__name__, "sentence": sentence}))
        raise
    _told(group, json.dumps({"value": value}))
    return value


def _learned(message: str) -> bool | int | float | str | None:
    outcome = json.loads(message)
    if "error" in outcome:
        error: MedSimCLRError = getattr(errors, outcome["error"])(outcome["sentence"])
        error.is_echo = True
        raise error
    value: bool | int | float | str | None = outcome["value"]
    return value


def _public_name(error: MedSimCLRError) -> str:
    """Return the name under which every process finds the error's class, or its nearest base."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in errors.__all__)


def _told(group: Group, message: str) -> str:
    """Return the main process's message; the others' is empty. Text, since nothing is unpickled."""
    said = torch.frombuffer(bytearray(message.encode()), dtype=torch.uint8) if message else None
    n_bytes = group.sum(torch.tensor(len(message.encode()), device=group.device))
    if said is None:
        said = torch.zeros(int(n_bytes), dtype=torch.uint8)
    return bytes(group.sum(said.to(group.device)).tolist()).decode()
