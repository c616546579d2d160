import json

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from medsimclr.errors import LabelError
from medsimclr.slides.annotations.reading import read_annotation

SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]


def _feature(coordinates, *, name="tumor", kind="Polygon"):
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"objectType": "annotation", "classification": {"name": name}},
    }


def _collection(geometries):
    return {
        **_feature([]),
        "geometry": {"type": "GeometryCollection", "geometries": geometries},
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
def test_geojson_takes_every_form_of_qupath(tmp_path, wrap):
    areas = read_annotation(_write(tmp_path / "a.geojson", wrap(_feature([SQUARE]))))
    assert list(areas) == ["tumor"]
    assert areas["tumor"].equals(shapely.box(0, 0, 10, 10))


def test_geojson_unites_overlapping_areas_and_keeps_holes(tmp_path):
    hole = [[2, 2], [2, 4], [4, 4], [4, 2], [2, 2]]
    shifted = [[x + 5, y] for x, y in SQUARE]
    features = [
        _feature([SQUARE, hole]),
        _feature([[shifted], [[[x + 100, y] for x, y in SQUARE]]], kind="MultiPolygon"),
        _feature([SQUARE], name="normal"),
    ]
    areas = read_annotation(_write(tmp_path / "a.geojson", features))
    assert list(areas) == ["normal", "tumor"]
    assert areas["tumor"].area == pytest.approx(150 - 4 + 100)


def test_geojson_keeps_all_that_a_lasso_encloses(tmp_path):
    bow_tie = [[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]
    # The end of the line loops over its beginning; the even-odd rule would lose 2 x 2 px there.
    loop = [[0, 0], [10, 0], [10, 10], [4, 10], [4, 4], [6, 4], [6, 6], [0, 6], [0, 0]]
    features = [_feature([bow_tie]), _feature([loop], name="loop")]
    areas = read_annotation(_write(tmp_path / "a.geojson", features))
    assert areas["tumor"].area == pytest.approx(50)
    assert areas["loop"].area == pytest.approx(84)
    assert all(area.is_valid for area in areas.values())


def test_geojson_names_classes_as_qupath_does(tmp_path):
    features = [_feature([SQUARE]) for _ in range(3)]
    features[0]["properties"] = {"classification": {"names": ["Tumor", "Positive"]}}
    features[1]["properties"] = {"name": " by hand "}
    features[2]["properties"] = {"classification": {"name": "Stroma"}, "name": "region 7"}
    areas = read_annotation(_write(tmp_path / "a.geojson", features))
    assert list(areas) == ["Stroma", "Tumor: Positive", "by hand"]


def test_geojson_evens_the_white_space_of_names(tmp_path):
    features = [
        _feature([SQUARE], name=name) for name in ("in\u00a0situ", " in  situ\n", "in situ")
    ]
    assert list(read_annotation(_write(tmp_path / "a.geojson", features))) == ["in situ"]


def test_geojson_reads_collections_and_heights(tmp_path):
    raised = [[x, y, 3.5] for x, y in SQUARE]
    polygon = {"type": "Polygon", "coordinates": [raised]}
    feature = _collection([polygon, {"type": "Point", "coordinates": [1, 2]}])
    areas = read_annotation(_write(tmp_path / "a.geojson", feature))
    assert areas["tumor"].equals(shapely.box(0, 0, 10, 10))


def test_geojson_passes_over_what_has_no_name_or_no_area(tmp_path):
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
    assert read_annotation(_write(tmp_path / "a.geojson", features)) == {}


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
        (
            _feature([[[0, 0], [1, float("nan")], [2, 2]]]),
            r"within 1000000000, got \(1, nan\) in point 1",
        ),
        (_feature([[[0, 0], [1, 1e12], [2, 2]]]), r"got \(1, 1e\+12\) in point 1"),
        (_feature([SQUARE], name=7), "the class name must be text, got 7"),
        (_feature([SQUARE], name="a" * 201), "the class name must be at most 200 printable"),
        (_feature([SQUARE], name="half \ud800"), "the class name must be at most 200 printable"),
        (_feature([[["0", [1]], [1, 1], [2, 2]]]), "a ring must be 3 or more points"),
        (_collection({}), "geometries must be a list"),
        ({**_feature([SQUARE]), "properties": 3}, "properties must be an object"),
        ({**_feature([SQUARE]), "geometry": []}, "geometry must be an object with a type"),
    ],
)
def test_a_malformed_feature_is_named_with_its_file(tmp_path, feature, reason):
    path = _write(tmp_path / "a.geojson", [_feature([SQUARE]), feature])
    with pytest.raises(LabelError, match=rf"a\.geojson, feature 1: .*{reason}.*Mend or remove"):
        read_annotation(path)


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
        read_annotation(tmp_path / "a.geojson")


def test_values_nested_without_end_are_our_error_at_any_depth(tmp_path):
    reasons = set()
    # JSON that was just parsed may be too deep for what handles it further down the stack.
    for depth in range(700, 1001):
        geometry = '{"a": ' * depth + "1" + "}" * depth
        path = _write(tmp_path / "a.geojson", f'{{"type": "Feature", "geometry": {geometry}}}')
        with pytest.raises(LabelError, match=r"^a\.geojson") as caught:
            read_annotation(path)
        reasons.add(str(caught.value)[:40])
    assert "a.geojson, feature 0: it is nested too d" in reasons


def test_a_hundred_nested_collections_are_read(tmp_path):
    inner = {"type": "Polygon", "coordinates": [SQUARE]}
    for _ in range(100):
        inner = {"type": "GeometryCollection", "geometries": [inner]}
    document = {**_feature([]), "geometry": inner}
    assert read_annotation(_write(tmp_path / "a.geojson", document))["tumor"].area == 100


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(LabelError, match=r"a\.geojson cannot be read: No such file"):
        read_annotation(tmp_path / "a.geojson")


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
            areas = read_annotation(_write(path, document))
        except LabelError:
            continue
        assert all(area.is_valid and area.area > 0 for area in areas.values())
