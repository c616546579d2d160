import json

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from medsimclr.errors import LabelError
from medsimclr.slides import annotations
from medsimclr.slides.annotations import class_coverage, read_geojson
from tests.references.raster_coverage import raster_coverage

SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]


def _feature(coordinates, *, name="tumor", kind="Polygon"):
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"objectType": "annotation", "classification": {"name": name}},
    }


def _write(path, document):
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        lambda feature: feature,
        lambda feature: [feature],
        lambda feature: {"type": "FeatureCollection", "features": [feature]},
    ],
)
def test_read_geojson_takes_every_form_of_qupath(tmp_path, wrap):
    areas = read_geojson(_write(tmp_path / "a.geojson", wrap(_feature([SQUARE]))))
    assert list(areas) == ["tumor"]
    assert areas["tumor"].equals(shapely.box(0, 0, 10, 10))


def test_read_geojson_unites_overlapping_areas_and_keeps_holes(tmp_path):
    hole = [[2, 2], [2, 4], [4, 4], [4, 2], [2, 2]]
    shifted = [[x + 5, y] for x, y in SQUARE]
    features = [
        _feature([SQUARE, hole]),
        _feature([[shifted], [[[x + 100, y] for x, y in SQUARE]]], kind="MultiPolygon"),
        _feature([SQUARE], name="normal"),
    ]
    areas = read_geojson(_write(tmp_path / "a.geojson", features))
    assert list(areas) == ["normal", "tumor"]
    assert areas["tumor"].area == pytest.approx(150 - 4 + 100)


def test_read_geojson_keeps_all_that_a_lasso_encloses(tmp_path):
    bow_tie = [[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]
    # The end of the line loops over its beginning; the even-odd rule would lose 2 x 2 px there.
    loop = [[0, 0], [10, 0], [10, 10], [4, 10], [4, 4], [6, 4], [6, 6], [0, 6], [0, 0]]
    features = [_feature([bow_tie]), _feature([loop], name="loop")]
    areas = read_geojson(_write(tmp_path / "a.geojson", features))
    assert areas["tumor"].area == pytest.approx(50)
    assert areas["loop"].area == pytest.approx(84)
    assert all(area.is_valid for area in areas.values())


def test_read_geojson_names_classes_as_qupath_does(tmp_path):
    features = [_feature([SQUARE]) for _ in range(3)]
    features[0]["properties"] = {"classification": {"names": ["Tumor", "Positive"]}}
    features[1]["properties"] = {"name": " by hand "}
    features[2]["properties"] = {"classification": {"name": "Stroma"}, "name": "region 7"}
    areas = read_geojson(_write(tmp_path / "a.geojson", features))
    assert list(areas) == ["Stroma", "Tumor: Positive", "by hand"]


def test_read_geojson_passes_over_what_has_no_name_or_no_area(tmp_path):
    unnamed = _feature([SQUARE])
    unnamed["properties"] = None
    no_geometry = _feature([SQUARE])
    no_geometry["geometry"] = None
    features = [
        unnamed,
        no_geometry,
        _feature([0, 0], kind="Point"),
        _feature([[0, 0], [5, 5]], kind="LineString"),
        _feature([[[0, 0], [5, 5], [0, 0]]]),
    ]
    assert read_geojson(_write(tmp_path / "a.geojson", features)) == {}


@pytest.mark.parametrize(
    ("feature", "reason"),
    [
        ("text", "expected an object of type 'Feature', got 'text'"),
        ({"type": "Polygon"}, "expected an object of type 'Feature'"),
        (_feature([[[0, 0], [1, 1]]]), "a ring must be 3 or more points"),
        (_feature([[[0, 0], [1, 1], ["x", 2]]]), "a ring must be 3 or more points"),
        (_feature([[[0, 0], [1, 1], [1]]]), "a ring must be 3 or more points"),
        (_feature([7]), "a ring must be 3 or more points"),
        (_feature([]), "a polygon must be a list of rings"),
        (_feature({}, kind="MultiPolygon"), "coordinates must be a list"),
        (_feature([[[0, 0], [1, float("nan")], [2, 2]]]), "no number of pixels"),
        (_feature([[[0, 0], [1, 1e12], [2, 2]]]), "no number of pixels"),
        (_feature([SQUARE], name=7), "the class name must be text, got 7"),
        ({**_feature([SQUARE]), "properties": 3}, "properties must be an object"),
        ({**_feature([SQUARE]), "geometry": []}, "geometry must be an object with a type"),
    ],
)
def test_a_malformed_feature_is_named_with_its_file(tmp_path, feature, reason):
    path = _write(tmp_path / "a.geojson", [_feature([SQUARE]), feature])
    with pytest.raises(LabelError, match=rf"a\.geojson, feature 1: .*{reason}.*Mend or remove"):
        read_geojson(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no JSON file"),
        ("[" * 100_000, "is no JSON file"),
        ("\ud800".encode("utf-16", "surrogatepass").decode("latin-1"), "is no JSON file"),
        ("7", "must hold a GeoJSON FeatureCollection"),
        ('{"type": "FeatureCollection"}', "must hold a GeoJSON FeatureCollection"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, text, reason):
    (tmp_path / "a.geojson").write_text(text, encoding="latin-1")
    with pytest.raises(LabelError, match=rf"a\.geojson {reason}"):
        read_geojson(tmp_path / "a.geojson")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(LabelError, match=r"a\.geojson cannot be read: No such file"):
        read_geojson(tmp_path / "a.geojson")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "geometry", "properties", "coordinates", "name"]), inner
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(_json, st.sampled_from(["Polygon", "MultiPolygon", "Point"]))
def test_any_json_gives_areas_or_our_error(tmp_path_factory, value, kind):
    path = tmp_path_factory.mktemp("fuzz") / "a.geojson"
    for document in (value, [value], [_feature(value, kind=kind)], [_feature([value], kind=kind)]):
        try:
            areas = read_geojson(_write(path, document))
        except LabelError:
            continue
        assert all(area.is_valid and area.area > 0 for area in areas.values())


_corner = st.tuples(st.integers(0, 40), st.integers(0, 40))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(_corner, min_size=3, max_size=8, unique=True),
    st.lists(st.tuples(_corner, st.integers(1, 15)), min_size=1, max_size=3),
)
def test_class_coverage_equals_raster_reference(corners, boxes):
    geometry = shapely.make_valid(shapely.Polygon(corners))
    boxes_xyxy = [(x, y, x + side, y + side) for (x, y), side in boxes]
    coverage_NC = class_coverage([geometry], np.array(boxes_xyxy, np.float64))
    assert coverage_NC.dtype == np.float32
    # A raster of n x n points errs by at most the points that the edges cross: some 2 n for each.
    for box_xyxy, (covered,) in zip(boxes_xyxy, coverage_NC.tolist(), strict=True):
        raster = raster_coverage([corners], box_xyxy, n_points=60)
        assert covered == pytest.approx(raster, abs=0.02 * len(corners))


def _spiky(n_points, *, n_spikes):
    angle = np.linspace(0, 2 * np.pi, n_points, endpoint=False)
    radius = 900 + 80 * np.sin(n_spikes * angle)
    return shapely.Polygon(
        np.c_[1000 + radius * np.cos(angle), 1000 + radius * np.sin(angle)],
        [shapely.Point(1000, 1000).buffer(100, quad_segs=500).exterior.coords],
    )


def _grid(step, *, size=2000):
    left, top = (axis.ravel() for axis in np.meshgrid(*[np.arange(0, size, step, float)] * 2))
    return np.c_[left, top, left + step, top + step]


@pytest.mark.parametrize("max_cuts", [0, 3, 24])
@pytest.mark.parametrize("step", [40.0, 250.0, 2000.0])
def test_cutting_a_large_polygon_changes_no_area(monkeypatch, step, max_cuts):
    monkeypatch.setattr(annotations, "_MAX_CUTS", max_cuts)
    geometry = shapely.union(_spiky(5000, n_spikes=200), shapely.box(1950, 1950, 1990, 1990))
    boxes_N4 = _grid(step)
    expected_N = shapely.area(shapely.intersection(geometry, shapely.box(*boxes_N4.T))) / step**2
    coverage_NC = class_coverage([geometry], boxes_N4)
    np.testing.assert_allclose(coverage_NC[:, 0], expected_N, atol=1e-6)
    assert (coverage_NC == 1).any() or step > 250


def test_coverage_is_exact_where_many_edges_meet():
    spokes = [
        shapely.Polygon(
            [
                (50, 50),
                (50 + 49 * np.cos(a), 50 + 49 * np.sin(a)),
                (50 + 49 * np.cos(a + 0.005), 50 + 49 * np.sin(a + 0.005)),
            ]
        )
        for a in np.linspace(0, 2 * np.pi, 300, endpoint=False)
    ]
    wheel = shapely.union(shapely.union_all(spokes), shapely.Point(50, 50).buffer(1e-3))
    boxes_N4 = _grid(10.0, size=100)
    coverage_NC = class_coverage([wheel], boxes_N4)
    assert coverage_NC.sum() * 100 == pytest.approx(wheel.area, rel=1e-5)


def test_class_coverage_has_a_column_for_each_class_and_a_row_for_each_box():
    geometries = [shapely.box(0, 0, 10, 10), shapely.box(5, 0, 10, 10), shapely.Polygon()]
    boxes_N4 = np.array([[0, 0, 10, 10], [0, 0, 5, 10], [8, 8, 12, 12], [20, 20, 30, 30]])
    assert class_coverage(geometries, boxes_N4).tolist() == [
        [1, 0.5, 0],
        [1, 0, 0],
        [0.25, 0.25, 0],
        [0, 0, 0],
    ]
    assert class_coverage(geometries, np.empty((0, 4))).shape == (0, 3)
    assert class_coverage([], boxes_N4).shape == (4, 0)


def test_class_coverage_refuses_an_empty_box():
    with pytest.raises(AssertionError, match="positive areas"):
        class_coverage([shapely.box(0, 0, 1, 1)], np.array([[0, 0, 0, 1]]))
