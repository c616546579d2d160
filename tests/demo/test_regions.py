import cv2
import numpy as np
import pytest
from shapely.geometry import shape

from medsimclr.demo.regions import region_features


def disk(side_px, centre_xy, radius_px):
    return cv2.circle(np.zeros((side_px, side_px), np.uint8), centre_xy, radius_px, 1, -1) > 0


def polygons_of(mask_HW):
    return [shape(feature["geometry"]) for feature in region_features(mask_HW, "tumor")]


def test_feature_is_a_named_qupath_annotation():
    feature = region_features(disk(100, (50, 40), 20), "tumor")[0]
    assert feature["type"] == "Feature"
    assert feature["properties"] == {
        "objectType": "annotation",
        "classification": {"name": "tumor"},
    }
    assert feature["geometry"]["coordinates"][0][0] == feature["geometry"]["coordinates"][0][-1]


def test_hole_is_kept_and_an_island_in_it_is_a_region_of_its_own():
    ring_HW = disk(200, (100, 100), 80) & ~disk(200, (100, 100), 50)
    polygons = polygons_of(ring_HW | disk(200, (100, 100), 20))
    assert sorted(len(polygon.interiors) for polygon in polygons) == [0, 1]
    expected = np.pi * (80**2 - 50**2 + 20**2)
    assert sum(polygon.area for polygon in polygons) == pytest.approx(expected, rel=0.05)


def test_frame_is_xy():
    (polygon,) = polygons_of(disk(300, (200, 60), 30))
    assert polygon.centroid.x == pytest.approx(200, abs=1)
    assert polygon.centroid.y == pytest.approx(60, abs=1)


def test_region_too_small_to_enclose_anything_is_left_out():
    mask_HW = np.zeros((50, 50), np.bool_)
    mask_HW[10, 10] = mask_HW[20, 20:40] = True
    assert region_features(mask_HW, "tumor") == []


def test_empty_mask_has_no_features():
    assert region_features(np.zeros((20, 30), np.bool_), "tumor") == []


def test_mask_to_the_edges_is_covered():
    (polygon,) = polygons_of(np.ones((64, 96), np.bool_))
    assert polygon.bounds == (0, 0, 95, 63)
