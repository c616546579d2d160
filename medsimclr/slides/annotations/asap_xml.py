"""ASAP XML: ASAP_Annotations / Annotations / Annotation / Coordinates / Coordinate.

A class is the group of an annotation (PartOfGroup), as in ASAP's own conversion to masks: where a
file has groups, what belongs to none is passed over; where it has none, a class is the Name of the
annotation, unless ASAP gave it ("Annotation 3"). Groups inside groups are classes of their own.

ASAP has no holes. Areas are cut out by what a group is called, and by nothing else:

- a group Exclusion (or Exclude, Excluded) is cut out of every class and is none itself;
- "_2" is cut out of "_0", "_1" and "Tumor", and "normal" out of "metastases": so the CAMELYON16
  and CAMELYON17 readmes define these groups. They stay classes under their own names.

A spline is taken through straight lines between its points, as ASAP's masks have it.
"""

import re

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from medsimclr.slides.annotations.class_names import class_name
from medsimclr.slides.annotations.faults import faulty, short
from medsimclr.slides.annotations.outline import Outline
from medsimclr.slides.annotations.polygons import cut, polygon, union
from medsimclr.slides.annotations.xml_elements import read_elements

__all__ = ["read_asap"]

_AREAS = frozenset({"Polygon", "Spline", "Rectangle"})
_EXCLUSION = re.compile(r"exclu(de|ded|sion)", re.IGNORECASE)
_AUTOMATIC_NAME = re.compile(r"Annotation \d+")
_CUT_OUT_OF = {"_0": "_2", "_1": "_2", "Tumor": "_2", "metastases": "normal"}


class _Annotation:
    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self.orders: list[str | None] = []

    def points(self) -> NDArray[np.float64]:
        """Return the points by their Order; as they stand in the file where none has one."""
        points_P2 = self.outline.points()
        if not any(self.orders):
            return points_P2
        order_P = np.array([_whole_number(order) for order in self.orders])
        return points_P2[np.argsort(order_P, kind="stable")]


def _whole_number(order: str | None) -> int:
    try:
        return int(order or "")
    except ValueError:  # thousands of digits, too
        raise ValueError(f"Order must be a whole number, got {short(order)}") from None


class _Reader:
    def __init__(self, file_name: str) -> None:
        self.file_name = file_name
        self.annotations: list[_Annotation] = []
        self.has_groups = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "Coordinate":
            self._add_coordinate(attributes)
        elif tag == "Annotation":
            where = f"annotation {len(self.annotations)} ({short(attributes.get('Name', ''))})"
            self.annotations.append(_Annotation(Outline(where, attributes)))
            self.has_groups |= _group_of(attributes) is not None
        elif tag == "Group":
            self.has_groups = True

    def _add_coordinate(self, attributes: dict[str, str]) -> None:
        if not self.annotations:
            raise faulty(
                self.file_name, "a Coordinate", "it must stand in an Annotation, got it outside"
            )
        annotation = self.annotations[-1]
        try:
            annotation.outline.add_point(attributes)
        except ValueError as error:
            raise faulty(self.file_name, annotation.outline.where, error) from error
        annotation.orders.append(attributes.get("Order"))


def read_asap(content: bytes, *, file_name: str) -> dict[str, BaseGeometry]:
    """Return the area of each class, in level-0 pixels.

    Raises:
        LabelError: it is no ASAP XML; names the file and the annotation.
    """
    reader = _Reader(file_name)
    read_elements(content, start=reader.start, file_name=file_name)
    areas: dict[str, list[BaseGeometry]] = {}
    where = ""
    try:
        for annotation in reader.annotations:
            where = annotation.outline.where
            name = _class_of(annotation.outline.attributes, has_groups=reader.has_groups)
            area = _area(annotation)
            if name is not None and area is not None:
                areas.setdefault(name, []).append(area)
        where = "its groups"
        united = {name: union(parts) for name, parts in sorted(areas.items())}
        return _without_cut_outs(united)
    except (ValueError, shapely.GEOSException) as error:
        raise faulty(file_name, where, error) from error


def _without_cut_outs(united: dict[str, BaseGeometry]) -> dict[str, BaseGeometry]:
    excluded = [area for name, area in united.items() if _EXCLUSION.fullmatch(name)]
    left = {}
    for name, area in united.items():
        if not _EXCLUSION.fullmatch(name):
            cut_out = _CUT_OUT_OF.get(name)
            holes = [united[cut_out]] if cut_out in united else []
            left[name] = cut(area, [*excluded, *holes])
    return {name: area for name, area in left.items() if area.area > 0}


def _group_of(attributes: dict[str, str]) -> str | None:
    group = attributes.get("PartOfGroup", "")
    return None if group in ("", "None") else group


def _class_of(attributes: dict[str, str], *, has_groups: bool) -> str | None:
    if has_groups:
        return class_name(_group_of(attributes))
    name = class_name(attributes.get("Name"))
    return None if name is None or _AUTOMATIC_NAME.fullmatch(name) else name


def _area(annotation: _Annotation) -> BaseGeometry | None:
    points_P2 = annotation.points()
    if annotation.outline.attributes.get("Type") not in _AREAS or len(points_P2) < 3:
        return None
    area = polygon([points_P2])
    return area if area.area > 0 else None
