"""Ranges of a policy's fields."""

import math

__all__ = ["check_between", "check_rising"]


def check_between(policy: object, low: float, high: float, *names: str) -> None:
    """Check that fields lie in a range, its ends included.

    Raises:
        ValueError: one does not, or is not a number.
    """
    for name in names:
        value = getattr(policy, name)
        if not low <= value <= high:
            raise ValueError(f"{name} must be between {low:g} and {high:g}, got {value!r}")


def check_rising(policy: object, name: str) -> None:
    """Check that a field is a range above 0: two finite numbers, the second not below the first.

    Raises:
        ValueError: it is not.
    """
    low, high = getattr(policy, name)
    if not 0.0 < low <= high < math.inf:
        raise ValueError(f"{name} must be two rising numbers above 0, got {(low, high)!r}")
