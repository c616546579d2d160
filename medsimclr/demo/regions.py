"""Annotations of a mask as QuPath writes them: GeoJSON polygons with a classification name.

Frame: level-0 pixels, x to the right and y down. Outlines run through the centres of the outermost
pixels of a region.
"""

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["region_features"]

# Outlines are simplified to about this many pixels: well under one nucleus.
_TOLERANCE_PX = 1.5
# Two points and their like enclose nothing; GeoJSON wants four positions, the first one repeated.
_MIN_CORNERS = 3

_Ring = list[list[int]]


def region_features(mask_HW: npt.NDArray[np.bool_], name: str) -> list[dict[str, object]]:
    """Turn a mask into GeoJSON features, one polygon for each region, holes kept.

    Args:
        mask_HW: True inside, one pixel for each level-0 pixel.
        name: classification of the features.

    Returns:
        Features, ready for JSON; empty where the mask is.
    """
    # CCOMP gives two levels: outer borders, whose parent is -1, and the holes in them.
    contours, tree = cv2.findContours(
        mask_HW.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    parents = [] if tree is None else tree[0][:, 3].tolist()
    polygons: dict[int, list[_Ring]] = {}
    for i, parent in enumerate(parents):
        if parent < 0:
            polygons[i] = _rings(np.asarray(contours[i], np.int32))
    for i, parent in enumerate(parents):
        if parent >= 0 and polygons[parent]:
            polygons[parent] += _rings(np.asarray(contours[i], np.int32))
    return [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": rings},
            "properties": {"objectType": "annotation", "classification": {"name": name}},
        }
        for rings in polygons.values()
        if rings
    ]


def _rings(contour: npt.NDArray[np.int32]) -> list[_Ring]:
    """Simplify and close one outline; none where it is too small to enclose anything."""
    corners: _Ring = cv2.approxPolyDP(contour, _TOLERANCE_PX, True)[:, 0, :].tolist()
    return [[*corners, corners[0]]] if len(corners) >= _MIN_CORNERS else []
