"""Read an annotation of any known format."""

from pathlib import Path
from typing import Protocol

from shapely.geometry.base import BaseGeometry

from medsimclr.errors import LabelError
from medsimclr.slides.annotations.asap_xml import read_asap
from medsimclr.slides.annotations.geojson import read_geojson
from medsimclr.slides.annotations.imagescope_xml import read_imagescope
from medsimclr.slides.annotations.xml_elements import root_tag

__all__ = ["ANNOTATION_SUFFIXES", "read_annotation"]

ANNOTATION_SUFFIXES = (".geojson", ".json", ".xml")
# Chosen here: some ten million vertices; JSON takes ten times its size in memory.
_MAX_BYTES = 512 << 20


class _Format(Protocol):
    def __call__(self, content: bytes, *, file_name: str) -> dict[str, BaseGeometry]: ...


_FORMAT_OF_ROOT: dict[str, _Format] = {
    "ASAP_Annotations": read_asap,
    "Annotations": read_imagescope,
}


def read_annotation(path: Path) -> dict[str, BaseGeometry]:
    """Return the area of each class, valid and in level-0 pixels, sorted by name.

    The content says which format it is: QuPath GeoJSON, ASAP XML or ImageScope XML; the suffix
    decides where the content does not say.

    Raises:
        LabelError: the file cannot be read, is too large, or is of no known format; names the file
            and the annotation in it.
    """
    # A name may hold a line break, or bytes that are no text.
    file_name = path.name if path.name.isprintable() else repr(path.name)
    content = _content(path, file_name=file_name)
    if not _is_xml(content, suffix=path.suffix.lower()):
        return read_geojson(content, file_name=file_name)
    root = root_tag(content, file_name=file_name)
    if root not in _FORMAT_OF_ROOT:
        raise LabelError(
            f"{file_name} must be ASAP or ImageScope XML with the outermost element "
            f"{' or '.join(_FORMAT_OF_ROOT)}, got {root[:60]!r}; export it from one of them."
        )
    return _FORMAT_OF_ROOT[root](content, file_name=file_name)


def _content(path: Path, *, file_name: str) -> bytes:
    try:
        # A pipe would be waited on for ever.
        if path.exists() and not path.is_file():
            raise LabelError(f"{file_name} cannot be read: it is no regular file.")
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise LabelError(
                f"{file_name} must be at most {_MAX_BYTES >> 20} MB, got {size >> 20} MB; export "
                "the annotations only, without detections."
            )
        return path.read_bytes()
    except OSError as error:
        raise LabelError(f"{file_name} cannot be read: {error.strerror}.") from error


def _is_xml(content: bytes, *, suffix: str) -> bool:
    start = content[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start in (b"<", b"{", b"["):
        return start == b"<"
    return suffix == ".xml"
