"""Pictures on the disk: whole or not at all, in a folder that is made where it is not there."""

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from medsimclr.errors import ConfigError
from medsimclr.files.atomic import output_errors, write_bytes
from medsimclr.files.output_folder import check_output_file

__all__ = ["check_picture_place", "save_figure", "save_image"]

_DPI = 120
_PNG = b"\x89PNG"


def check_picture_place(path: Path, *, example: str) -> None:
    """Refuse a place where a picture would take the place of something else.

    Args:
        path: the picture, there or not.
        example: a file name of its kind.

    Raises:
        ConfigError: it is no .png, a folder, or a file that is no picture of ours.
    """
    check_output_file(path, example=example)
    with output_errors(path):
        is_other = path.is_file() and not path.read_bytes().startswith(_PNG)
    if path.suffix.lower() != ".png" or is_other:
        got = "a file that is no PNG" if is_other else "another ending"
        raise ConfigError(
            f"--out {str(path)!r} must name a .png, new or a PNG already, got {got}; choose "
            f"another --out, as {example}."
        )


def save_figure(figure: Figure, out: Path) -> None:
    """Write a figure as PNG.

    Raises:
        OutputError: it cannot be written.
    """
    picture = io.BytesIO()
    figure.savefig(picture, dpi=_DPI, format="png")
    _write(picture, out)


def save_image(image_HW3: NDArray[np.uint8], out: Path) -> None:
    """Write an RGB picture as PNG.

    Raises:
        OutputError: it cannot be written.
    """
    picture = io.BytesIO()
    Image.fromarray(image_HW3).save(picture, format="png")
    _write(picture, out)


def _write(picture: io.BytesIO, out: Path) -> None:
    with output_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, picture.getvalue())
