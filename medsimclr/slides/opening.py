"""Find slides and open them, by content and not by name, with the reader asked for."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import openslide

from medsimclr.config.tile import ReaderName
from medsimclr.errors import ConfigError, NoInputError, SlideError, UnsafeInputError
from medsimclr.slides.dicom import is_dicom, series_uid
from medsimclr.slides.image_slide import ImageSlide
from medsimclr.slides.monai_slide import Backend, MonaiSlide, check_backend
from medsimclr.slides.ome_tiff_slide import OmeTiffSlide, is_ome_tiff
from medsimclr.slides.openslide_slide import OpenSlideSlide
from medsimclr.slides.slide import Slide

__all__ = ["check_reader", "find_slides", "open_slide", "slide_id_of"]

# What OpenSlide 4.0.1 documents; .ome.tif and .ome.tiff end in .tif and .tiff too.
_OPENSLIDE_SUFFIXES = frozenset(
    {".avs", ".bif", ".czi", ".dcm", ".mrxs", ".ndpi", ".scn", ".svs", ".svslide"}
    | {".tif", ".tiff", ".vms", ".vmu"}
)
_IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})
_SUFFIXES = _OPENSLIDE_SUFFIXES | _IMAGE_SUFFIXES
_HAMAMATSU_INDEX_SUFFIXES = frozenset({".vms", ".vmu"})
_MAX_ID = 64
_BACKENDS: dict[str, Backend] = {
    "monai:cucim": "cucim",
    "monai:openslide": "openslide",
    "monai:tifffile": "tifffile",
}


def find_slides(paths: Sequence[Path]) -> list[Path]:
    """List the slides among files and folders, sorted, each once.

    Files are taken as given. Folders are searched recursively, links to folders not followed,
    for files of known suffixes that are not hidden; a folder of such a suffix without a slide in it
    is listed too, to be refused by name and not passed over.

    Files of one DICOM series in one folder are one slide: the first by name stands for it. JPEGs
    beside a .vms or .vmu index are its parts.

    Raises:
        NoInputError: A path does not exist, a folder cannot be searched, or there is no slide.
        ConfigError: Two slides have the same id.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found.extend(_search(path))
        elif os.path.lexists(path):  # a broken link is a bad slide, not a wrong argument
            found.append(path)
        else:
            raise NoInputError(f"{str(path)!r} does not exist; expected a slide or a folder.")
    slides = _first_of_each_series(_once_each(sorted(found)))
    if not slides:
        raise NoInputError(
            f"no slide found in {', '.join(repr(str(path)) for path in paths) or 'no path'}; "
            f"looked for files ending in {', '.join(sorted(_SUFFIXES))}."
        )
    _check_ids(slides)
    return slides


def _search(folder: Path) -> list[Path]:
    found = list(_search_files(folder))
    holding = {parent for path in found for parent in path.parents}
    return found + [path for path in _folders_like_slides(folder) if path not in holding]


def _folders_like_slides(folder: Path) -> Iterator[Path]:
    for parent, folders, _ in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [Path(parent, name) for name in folders if Path(parent, name).is_symlink()]
        yield from (path for path in (Path(parent), *links) if path.suffix.lower() in _SUFFIXES)


def _search_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=_refuse_folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        visible = [Path(parent, name) for name in names if not name.startswith(".")]
        has_index = any(path.suffix.lower() in _HAMAMATSU_INDEX_SUFFIXES for path in visible)
        for path in visible:
            suffix = path.suffix.lower()
            if suffix in _SUFFIXES and not (has_index and suffix in (".jpg", ".jpeg")):
                yield path


def _refuse_folder(error: OSError) -> None:
    raise NoInputError(
        f"folder {str(error.filename)!r} cannot be searched ({error.strerror}); make it readable, "
        "or name the slides one by one."
    ) from error


def _once_each(paths: Iterable[Path]) -> list[Path]:
    return list({os.path.realpath(path): path for path in reversed(list(paths))}.values())[::-1]


def _first_of_each_series(paths: Iterable[Path]) -> list[Path]:
    first: dict[object, Path] = {}
    for path in paths:
        uid = _series_of(path)
        first.setdefault((path.resolve().parent, uid) if uid else path, path)
    return list(first.values())


def _series_of(path: Path) -> str | None:
    if path.suffix.lower() != ".dcm" or not path.is_file():
        return None
    try:
        return series_uid(path)
    except OSError:  # opening it as a slide will say what is wrong
        return None


def _check_ids(slides: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in slides:
        # Case folded: a store copied to a case-blind file system would merge "A1" with "a1".
        other = seen.setdefault(slide_id_of(path).casefold(), path)
        if other is not path:
            raise ConfigError(
                f"{str(other)!r} and {str(path)!r} would both be slide {slide_id_of(path)!r}. "
                "Rename one of them, or leave it out."
            )


def slide_id_of(path: Path) -> str:
    """Return the slide's name in the store: its stem, less ".ome", in [A-Za-z0-9._-]{1,64}.

    Other characters become "_", as do a leading dot and the dot of ".partial", which marks what a
    killed run left; a longer name keeps 55 characters and gains
    a hash, so that names which differ only at their end stay apart.
    """
    stem = re.sub(r"\.ome$", "", path.stem, flags=re.IGNORECASE)
    stem = re.sub(r"[^A-Za-z0-9._-]|^\.|\.(?=partial$)", "_", stem) or "_"
    if len(stem) <= _MAX_ID:
        return stem
    digest = hashlib.sha256(os.fsencode(path.stem)).hexdigest()[:8]
    return f"{stem[: _MAX_ID - len(digest) - 1]}-{digest}"


def check_reader(reader: ReaderName) -> None:
    """Check, before any slide is opened, that the reader can be used on this machine.

    Raises:
        ConfigError: A package that it needs cannot be imported; it says which to install.
    """
    if reader in _BACKENDS:
        check_backend(_BACKENDS[reader])


def open_slide(path: Path, *, reader: ReaderName = "auto") -> Slide:
    """Open a slide by its content and not by its name.

    auto asks, in this order: tifffile for an OME-TIFF, OpenSlide, Pillow for a plain image. The
    other readers are asked alone; with them, too, format and scale are those that auto finds.

    Raises:
        SlideError: It is no regular file, or no reader asked can read it.
        UnsafeInputError: A plain image claims more pixels than Pillow deems safe, or an OME-XML
            could harm.
    """
    if not path.is_file():
        state = "it is no regular file" if path.exists() else "it does not exist"
        raise SlideError(f"{path.name!r} cannot be opened: {state}. Give a slide file.")
    if reader == "openslide":
        return _open_by_openslide(path)
    facts = _open_by_content(path)
    if reader == "auto":
        return facts
    with facts:
        try:
            return MonaiSlide(path, backend=_BACKENDS[reader], facts=facts)
        except SlideError as error:
            raise SlideError(f"{path.name!r}: {error}.") from error


def _open_by_content(path: Path) -> Slide:
    try:
        if is_ome_tiff(path):
            return OmeTiffSlide(path)
    except UnsafeInputError as error:
        raise UnsafeInputError(f"{path.name!r} is refused: {error}") from error
    except (SlideError, OSError) as error:
        raise _unreadable(path, str(error), readers="our reader of OME-TIFF") from error
    try:
        return _open_by_openslide(path)
    except SlideError as error:
        # A format that OpenSlide knows is never handed to Pillow, which would show the first page
        # of a damaged slide as if it were all.
        if isinstance(error.__cause__, openslide.OpenSlideUnsupportedFormatError):
            return _open_image(path)
        raise


def _open_by_openslide(path: Path) -> Slide:
    try:
        _check_companions(path)
        return OpenSlideSlide(path)
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise _unreadable(path, "OpenSlide knows no such format") from error
    except (openslide.OpenSlideError, OSError) as error:
        reason = str(error)
        if path.suffix.lower() == ".czi" and "not supported" in reason:
            reason += "; of CZI, OpenSlide reads RGB, uncompressed or compressed by zstd"
        raise _unreadable(path, reason) from error


def _open_image(path: Path) -> Slide:
    # A .vsi is a TIFF and a .mrxs a JPEG that Pillow would open: their macro image.
    if path.suffix.lower() not in _IMAGE_SUFFIXES:
        raise _unreadable(path, "OpenSlide knows no such format")
    try:
        return ImageSlide(path)
    except SlideError as error:
        raise _unreadable(path, str(error)) from error


def _check_companions(path: Path) -> None:
    """Refuse a slide whose folder holds a pipe or device: OpenSlide would wait on it for ever.

    Of a DICOM slide OpenSlide opens every file in the folder; of a MIRAX or Hamamatsu slide those
    that its index names.
    """
    suffix = path.suffix.lower()
    if suffix == ".mrxs":
        folder = path.with_suffix("")
    elif suffix in _HAMAMATSU_INDEX_SUFFIXES or is_dicom(path):
        folder = path.parent
    else:
        return
    if not folder.is_dir():
        return
    for companion in sorted(folder.iterdir()):
        if companion.exists() and not (companion.is_file() or companion.is_dir()):
            raise _unreadable(path, f"{companion.name!r} beside it is a pipe or a device")


def _unreadable(path: Path, reason: str, *, readers: str = "OpenSlide or Pillow") -> SlideError:
    return SlideError(
        f"{path.name!r} is no slide that {readers} can read ({reason}); "
        "copy it anew, or convert it to a pyramidal TIFF."
    )
