"""How the colour of tissue differs between slides: what RandStainNA draws its templates from.

Source: Shen et al. 2022 (RandStainNA, arXiv 2206.12694), section 2.2: the mean and the standard
deviation of each channel of a colour space are themselves normally distributed over the images.
Where we differ: the distributions are those over slides, each slide counted once, and only tissue
counts: over tiles they would hold what the tissue is, and over glass how much of it there is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from medsimclr.augment.color_space import ColorSpace, tissue_mask, to_space

__all__ = ["SpaceStatistics", "TemplateStatistics", "fit_templates", "tissue_moments"]

_TISSUE_FRACTION_MIN = 0.01
_Three = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class SpaceStatistics:
    """Distributions of the channels of one colour space over slides, in its units."""

    mean_center: _Three
    """Mean over slides of the mean of each channel."""
    mean_spread: _Three
    """Standard deviation over slides of the mean."""
    std_center: _Three
    """Mean over slides of the standard deviation, above 0."""
    std_spread: _Three
    """Standard deviation over slides of the standard deviation."""

    def __post_init__(self) -> None:
        """Check that these are means and standard deviations."""
        values = (*self.mean_center, *self.mean_spread, *self.std_center, *self.std_spread)
        if not np.all(np.isfinite(values)):
            raise ValueError(f"statistics must be finite, got {values!r}")
        if min(*self.mean_spread, *self.std_spread) < 0.0 or min(self.std_center) <= 0.0:
            raise ValueError(f"standard deviations must not be negative, got {self!r}")


@dataclass(frozen=True, kw_only=True)
class TemplateStatistics:
    """Statistics of the three colour spaces of `color_space`."""

    lab: SpaceStatistics
    hed: SpaceStatistics
    hsv: SpaceStatistics


def tissue_moments(
    image_HW3: NDArray[np.uint8], space: ColorSpace
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return mean and standard deviation of each channel over tissue; None with under 1 % of it."""
    mask_HW = tissue_mask(image_HW3)
    if cv2.countNonZero(mask_HW) < max(1.0, _TISSUE_FRACTION_MIN * mask_HW.size):
        return None
    mean, std = cv2.meanStdDev(to_space(image_HW3, space), mask=mask_HW)
    return np.asarray(mean[:, 0], np.float64), np.asarray(std[:, 0], np.float64)


def fit_templates(slides: Iterable[tuple[str, NDArray[np.uint8]]]) -> TemplateStatistics:
    """Fit the distributions over slides.

    Args:
        slides: name and tiles (N, H, W, 3) of each slide; a few dozen tiles each are enough.

    Raises:
        ValueError: no slide has tissue.
    """
    spaces: tuple[ColorSpace, ...] = get_args(ColorSpace)
    moments: dict[str, list[NDArray[np.float64]]] = {space: [] for space in spaces}
    for _, tiles_NHW3 in slides:
        stacked_HW3 = tiles_NHW3.reshape(-1, *tiles_NHW3.shape[2:])
        for space in spaces:
            found = tissue_moments(stacked_HW3, space)
            if found is not None:
                moments[space].append(np.stack(found))
    if not moments["lab"]:
        raise ValueError("statistics need at least one slide with tissue, got none")
    return TemplateStatistics(
        **{space: _over_slides(np.stack(of_slides)) for space, of_slides in moments.items()}
    )


def _over_slides(moments_S23: NDArray[np.float64]) -> SpaceStatistics:
    center_23, spread_23 = moments_S23.mean(axis=0), moments_S23.std(axis=0)
    return SpaceStatistics(
        mean_center=_three(center_23[0]),
        mean_spread=_three(spread_23[0]),
        # A slide of a single colour has none.
        std_center=_three(np.maximum(center_23[1], 1e-3)),
        std_spread=_three(spread_23[1]),
    )


def _three(vector_3: NDArray[np.float64]) -> _Three:
    first, second, third = vector_3.tolist()
    return first, second, third
