"""Whether an output can be a folder, or a file, at the place where it was asked for."""

import os
from pathlib import Path

from medsimclr.errors import ConfigError

__all__ = ["check_output_file", "check_output_folder"]


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


def check_output_file(path: Path, *, example: str) -> None:
    """Refuse a place that a folder takes already, or that lies below a file.

    Args:
        path: the file, there or not.
        example: a file name of its kind.

    Raises:
        ConfigError: naming the folder or file.
    """
    check_output_folder(path.parent)
    if path.is_dir():
        raise ConfigError(
            f"--out must name the file to write, got the folder {str(path)!r}; add a file name, as "
            f"in --out {example}."
        )
