"""Mean and interval of a figure over seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student_t

__all__ = ["SeedInterval", "seed_interval"]


class SeedInterval(NamedTuple):
    """A mean over seeds with its interval; None where one seed tells no spread."""

    mean: float
    low: float | None
    high: float | None


def seed_interval(values: Sequence[float], *, level: float = 0.95) -> SeedInterval:
    """Compute the mean of a figure and Student's interval of that mean.

    Few seeds make wide intervals: with 3 they are 2.5 standard deviations to each side.

    Args:
        values: one a seed, at least one.
        level: coverage, between 0 and 1.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return SeedInterval(mean, None, None)
    standard_error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    half = float(student_t.ppf((1 + level) / 2, df=len(values) - 1)) * standard_error
    return SeedInterval(mean, mean - half, mean + half)
