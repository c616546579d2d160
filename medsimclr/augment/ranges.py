"""Ranges of a policy's fields."""

__all__ = ["check_between"]


def check_between(policy: object, low: float, high: float, *names: str) -> None:
    """Check that fields lie in a range, its ends included.

    Raises:
        ValueError: one does not, or is not a number.
    """
    for name in names:
        value = getattr(policy, name)
        if not low <= value <= high:
            raise ValueError(f"{name} must be between {low:g} and {high:g}, got {value!r}")
