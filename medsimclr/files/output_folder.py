"""Whether an output can be a folder at the place where it was asked for."""

import os
from pathlib import Path

from medsimclr.errors import ConfigError

__all__ = ["check_output_folder"]


def check_output_folder(path: Path, *, option: str = "--out") -> None:
    """Refuse a place that a file takes already, or that lies below a file.

    Args:
        path: the folder, there or not.
        option: how the user gave it.

    Raises:
        ConfigError: naming the file.
    """
    for place in (path, *path.parents):
        # What may not even be looked at, pathlib raises for: the attempt to write will say it.
        if os.path.lexists(place) and not os.path.isdir(place):  # noqa: PTH112
            raise ConfigError(
                f"{option} needs a folder at {str(path)!r}, new or there already, got the file "
                f"{str(place)!r}; choose another {option}."
            )
