"""Names of classes as files give them."""

from medsimclr.slides.annotations.faults import short

__all__ = ["class_name"]

_MAX_CHARACTERS = 200


def class_name(value: object) -> str | None:
    """Return the name with its white space evened, or None where there is none.

    Raises:
        ValueError: it is no text, too long, or has characters that a store cannot keep, such as
            half a surrogate pair.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"the class name must be text, got {short(value)}")
    name = " ".join(value.split())
    if len(name) > _MAX_CHARACTERS or not name.isprintable():
        raise ValueError(
            f"the class name must be at most {_MAX_CHARACTERS} printable characters, got "
            f"{short(value)}"
        )
    return name or None
