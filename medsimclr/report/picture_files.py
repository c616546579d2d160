"""Pictures on the disk: whole or not at all, in a folder that is made where it is not there."""

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from medsimclr.files.atomic import output_errors, write_bytes

__all__ = ["save_figure", "save_image"]

_DPI = 120


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
