"""One outline of an XML file while it is read."""

from array import array
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medsimclr.slides.annotations.faults import short
from medsimclr.slides.annotations.polygons import checked_ring

__all__ = ["Outline"]


@dataclass(frozen=True)
class Outline:
    """The attributes of an annotation or region, and its points in the order of the file."""

    where: str
    """Which one it is, for messages."""
    attributes: dict[str, str]
    # An array of numbers: a million points as Python objects would take 100 MB.
    _xy: "array[float]" = field(default_factory=lambda: array("d"))

    def add_point(self, attributes: dict[str, str]) -> None:
        """Append the point that an element's attributes X and Y give.

        Raises:
            ValueError: one of them is missing or no number.
        """
        try:
            x, y = float(attributes["X"]), float(attributes["Y"])
        except (KeyError, ValueError):
            raise ValueError(
                f"a point must have numbers X and Y, got {short(attributes)}"
            ) from None
        self._xy.append(x)
        self._xy.append(y)

    def points(self) -> NDArray[np.float64]:
        """Return the points, (P, 2) level-0 x and y.

        Raises:
            ValueError: one is not finite or absurdly far away.
        """
        return checked_ring(np.array(self._xy, np.float64).reshape(-1, 2))
