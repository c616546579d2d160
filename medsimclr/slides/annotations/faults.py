"""What is said of an annotation that cannot be used."""

from medsimclr.errors import LabelError

__all__ = ["faulty", "short"]

_MAX_SHOWN = 60


def faulty(file_name: str, where: str, reason: object) -> LabelError:
    """Return the error that names the file, the annotation in it, and what is wrong with it."""
    return LabelError(f"{file_name}, {where}: {reason}. Mend or remove that annotation.")


def short(value: object) -> str:
    """Return the start of a value's repr: what a file holds may be long."""
    # A slice first: the repr of a ring of a million points takes seconds.
    text = repr(value[:_MAX_SHOWN] if isinstance(value, str | list) else value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
