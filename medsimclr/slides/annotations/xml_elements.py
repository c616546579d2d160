"""Untrusted XML, element by element, without a tree in memory.

A DOCTYPE is refused: entities that expand to gigabytes, and those that name other files or
addresses, can only be declared in one. Nothing is ever fetched.
"""

from collections.abc import Callable
from xml.parsers import expat

from medsimclr.errors import LabelError

__all__ = ["Start", "read_elements", "root_tag"]

Start = Callable[[str, dict[str, str]], None]
_MAX_DEPTH = 64


class _RootFoundError(Exception):
    """Ends the reading at the first element."""


def root_tag(content: bytes, *, file_name: str) -> str:
    """Return the name of the outermost element.

    Raises:
        LabelError: there is none, or what stands before it is no XML.
    """
    found: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        found.append(tag)
        raise _RootFoundError

    try:
        read_elements(content, start=start, file_name=file_name)
    except _RootFoundError:
        return found[0]
    raise AssertionError("a whole XML file has a root")


def read_elements(content: bytes, *, start: Start, file_name: str) -> None:
    """Call `start` with the tag and attributes of each element, in the order of the file.

    Raises:
        LabelError: the XML is cut off or malformed, has an encoding that is not known, nests too
            deeply, or declares a DOCTYPE.
    """
    parser = expat.ParserCreate()
    depth = 0

    def refuse_doctype(*declaration: object) -> None:
        raise LabelError(
            f"{file_name} must have no DOCTYPE, which can hide an attack, got one in line "
            f"{parser.CurrentLineNumber}; remove it."
        )

    def enter(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise LabelError(
                f"{file_name} must nest elements at most {_MAX_DEPTH} deep, got more in line "
                f"{parser.CurrentLineNumber}; export it anew."
            )
        start(tag, attributes)

    def leave(tag: str) -> None:
        nonlocal depth
        depth -= 1

    parser.StartDoctypeDeclHandler = refuse_doctype
    parser.StartElementHandler = enter
    parser.EndElementHandler = leave
    try:
        parser.Parse(content, True)
    # An encoding that Python does not know is a LookupError, one of several bytes a ValueError.
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise LabelError(f"{file_name} is no whole XML file: {error}. Export it anew.") from error
