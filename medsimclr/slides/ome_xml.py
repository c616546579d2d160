"""What the OME-XML of an OME-TIFF says of its images.

The XML is a stranger's: its size is bounded, and a document type, the way to entities that grow
without end or name other files, is refused before any parser sees it.
Source: the OME data model, https://docs.openmicroscopy.org/ome-model/
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from medsimclr.errors import SlideError, UnsafeInputError

__all__ = ["OmeImage", "choose_image", "parse_ome_xml"]

# Real headers of slides have some kilobytes; those of screens, with every well, some megabytes.
_MAX_CHARACTERS = 8 << 20
_MAX_ELEMENTS = 100_000
_UM = {"m": 1e6, "cm": 1e4, "mm": 1e3, "\u00b5m": 1.0, "\u03bcm": 1.0, "um": 1.0, "nm": 1e-3}
_OVERVIEW = re.compile(r"\b(label|macro|overview|thumbnail|barcode)\b", re.IGNORECASE)
_RGB_NAMES = ("red", "green", "blue")
# Colours are signed 32-bit RGBA.
_RGB_COLOURS = (-16776961, 16711935, 65535)


@dataclass(frozen=True, kw_only=True)
class OmeImage:
    """One image (series) of the file."""

    is_overview: bool
    """Whether it is the label, macro or thumbnail image, none of which is ever read."""
    size_xy: tuple[int, int]
    n_planes: int
    """Focal planes times points of time."""
    n_channels: int
    is_rgb: bool
    """Whether three channels of one plane each are red, green and blue, in this order."""
    pixel_type: str
    mpp_xy: tuple[float, float] | None
    """Micrometres per pixel as stated, unchecked; NaN where it is no length."""
    ifds: tuple[int, ...]
    """TIFF directories of its planes, in order of the channels; empty where not said."""
    is_elsewhere: bool
    """Whether planes lie in other files."""


def parse_ome_xml(text: str) -> list[OmeImage]:
    """Read the images of an OME-XML.

    Raises:
        UnsafeInputError: It is huge, or declares a document type or entities.
        SlideError: It is no OME-XML that holds an image.
    """
    if len(text) > _MAX_CHARACTERS:
        raise UnsafeInputError(
            f"its OME-XML has {len(text)} characters; at most {_MAX_CHARACTERS} are read. "
            "Convert it to a pyramidal TIFF."
        )
    if re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise UnsafeInputError(
            "its OME-XML declares a document type or entities, which no microscope writes; "
            "it is not read."
        )
    try:
        root = ElementTree.fromstring(text.strip("\0 \t\r\n"))
    except (ElementTree.ParseError, ValueError) as error:
        raise SlideError(f"its OME-XML is damaged ({error})") from error
    if sum(1 for _ in root.iter()) > _MAX_ELEMENTS:
        raise UnsafeInputError(f"its OME-XML has more than {_MAX_ELEMENTS} elements.")
    images = [
        _image(image, pixels)
        for image in root
        if _name(image) == "Image"
        for pixels in image
        if _name(pixels) == "Pixels"
    ]
    if not images:
        raise SlideError("its OME-XML names no image")
    return images


def choose_image(images: Sequence[OmeImage]) -> OmeImage:
    """Return the one image that is the slide.

    Raises:
        SlideError: There is none or more than one, or it is not one plane of 8-bit grey or RGB.
    """
    slides = [image for image in images if not image.is_overview]
    if len(slides) != 1:
        raise SlideError(
            f"an OME-TIFF must hold one image beside label and macro, got {len(slides)}"
        )
    (image,) = slides
    if image.is_elsewhere:
        raise SlideError("parts of this OME-TIFF lie in other files; write it as one file")
    if image.n_planes != 1:
        raise SlideError(
            f"an OME-TIFF must hold one focal plane of one point of time, got {image.n_planes}"
        )
    if image.pixel_type.lower() != "uint8":
        raise SlideError(
            f"an OME-TIFF must have 8 bits per channel (uint8), got {image.pixel_type!r}"
        )
    if image.n_channels not in (1, 3):
        raise SlideError(f"an OME-TIFF must have 1 or 3 channels, got {image.n_channels}")
    if not image.is_rgb and image.n_channels == 3:
        raise SlideError(
            "the 3 channels of this OME-TIFF are not said to be red, green and blue (by Name or "
            "Color); how dyes become colours is not guessed. Render it as RGB"
        )
    return image


def _image(image: ElementTree.Element, pixels: ElementTree.Element) -> OmeImage:
    channels = [child for child in pixels if _name(child) == "Channel"]
    samples = [_whole(channel, "SamplesPerPixel", default=1) for channel in channels]
    n_channels = max(_whole(pixels, "SizeC", default=1), sum(samples))
    tiff_data = [child for child in pixels if _name(child) == "TiffData"]
    return OmeImage(
        is_overview=bool(_OVERVIEW.search(image.get("Name", ""))),
        size_xy=(_whole(pixels, "SizeX"), _whole(pixels, "SizeY")),
        n_planes=_whole(pixels, "SizeZ", default=1) * _whole(pixels, "SizeT", default=1),
        n_channels=n_channels,
        is_rgb=n_channels == 3 and (3 in samples or not channels or _are_rgb(channels)),
        pixel_type=pixels.get("Type", ""),
        mpp_xy=_mpp_xy(pixels),
        ifds=_ifds(tiff_data),
        is_elsewhere=_lie_elsewhere(tiff_data),
    )


def _are_rgb(channels: Sequence[ElementTree.Element]) -> bool:
    names = tuple(channel.get("Name", "").strip().lower() for channel in channels)
    colours = tuple(channel.get("Color", "") for channel in channels)
    return names in (_RGB_NAMES, ("r", "g", "b")) or colours == tuple(map(str, _RGB_COLOURS))


def _ifds(tiff_data: Sequence[ElementTree.Element]) -> tuple[int, ...]:
    placed = []
    for block in tiff_data:
        first, channel = _whole(block, "IFD", default=0), _whole(block, "FirstC", default=0)
        # A block without IFD covers the file from its start, and one without a count its rest.
        count = _whole(block, "PlaneCount", default=1 if "IFD" in block.attrib else 3)
        placed += [(channel + place, first + place) for place in range(min(count, 3))]
    return tuple(ifd for _, ifd in sorted(placed))


def _lie_elsewhere(tiff_data: Sequence[ElementTree.Element]) -> bool:
    uuids = {child.text for block in tiff_data for child in block if _name(child) == "UUID"}
    return len(uuids) > 1


def _mpp_xy(pixels: ElementTree.Element) -> tuple[float, float] | None:
    sizes = (pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeY"))
    if sizes[0] is None and sizes[1] is None:
        return None
    units = (pixels.get("PhysicalSizeXUnit", "um"), pixels.get("PhysicalSizeYUnit", "um"))
    # "pixel" and "reference frame" are units of OME too, and no scale.
    if any(unit not in _UM for unit in units):
        return None
    x, y = (_number(size) * _UM[unit] for size, unit in zip(sizes, units, strict=True))
    return x, y


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else math.nan
    except ValueError:
        return math.nan


def _whole(element: ElementTree.Element, key: str, default: int | None = None) -> int:
    text = element.get(key)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch(r"\d{1,9}", text):
        raise SlideError(f"{key} in its OME-XML must be a whole number, got {text!r}")
    return int(text)


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
