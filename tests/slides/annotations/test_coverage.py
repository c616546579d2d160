import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medsimclr.slides.annotations.coverage import class_coverage
from medsimclr.slides.annotations.reading import read_annotation
from medsimclr.tiling.source import labels_of
from tests.references.slab_coverage import slab_coverage
from tests.slides.annotations.shapes import WRITERS

_corner = st.tuples(st.integers(0, 40), st.integers(0, 40))
_ring = st.lists(_corner, min_size=3, max_size=7, unique=True)
_boxes = st.lists(st.tuples(_corner, st.integers(1, 15)), min_size=1, max_size=3)


def _xyxy(boxes):
    return [(x, y, x + side, y + side) for (x, y), side in boxes]


@settings(max_examples=100, deadline=None)
@given(_ring, _boxes)
# Made valid, this is a collection of a line and a multipolygon.
@example([(0, 2), (0, 0), (0, 1), (1, 1), (1, 0)], [((0, 0), 1)])
def test_class_coverage_equals_that_of_intersections(corners, boxes):
    geometry = shapely.make_valid(shapely.Polygon(corners))
    boxes_N4 = np.array(_xyxy(boxes), np.float64)
    coverage_NC = class_coverage([geometry], boxes_N4)
    shared_N = shapely.area(shapely.intersection(geometry, shapely.box(*boxes_N4.T)))
    assert coverage_NC.dtype == np.float32
    expected_N = shared_N / (boxes_N4[:, 2:] - boxes_N4[:, :2]).prod(axis=1)
    np.testing.assert_allclose(coverage_NC[:, 0], expected_N, atol=1e-6)


@pytest.mark.parametrize("format_name", WRITERS)
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["normal", "tumor"]), _ring), min_size=1, max_size=4), _boxes
)
def test_coverage_of_lassos_that_cross_and_overlap_is_exact(
    tmp_path_factory, format_name, lassos, boxes
):
    path = tmp_path_factory.mktemp("lassos") / format_name
    areas = read_annotation(WRITERS[format_name](path, [(name, [ring]) for name, ring in lassos]))
    names = ["normal", "tumor"]
    geometries = [areas.get(name, shapely.Polygon()) for name in names]
    coverage_NC = class_coverage(geometries, np.array(_xyxy(boxes), np.float64))
    for box_xyxy, covered in zip(_xyxy(boxes), coverage_NC.tolist(), strict=True):
        exact = [
            slab_coverage([[ring] for name, ring in lassos if name == wanted], box_xyxy)
            for wanted in names
        ]
        assert covered == pytest.approx(exact, abs=1e-6)


def _star(x, y, radius, *, n_points=24, turn=0.0):
    """A smooth outline with dents, in float coordinates."""
    angle = turn + np.linspace(0, 2 * np.pi, n_points, endpoint=False)
    reach = radius * (1 + 0.2 * np.sin(5 * angle))
    return list(
        zip((x + reach * np.cos(angle)).tolist(), (y + reach * np.sin(angle)).tolist(), strict=True)
    )


SHAPES = [
    ("tumor", [_star(200, 200, 150), _star(190, 210, 60)]),
    ("tumor", [_star(330, 240, 110)]),
    ("tumor", [_star(190, 210, 20)]),
    ("normal", [_star(260, 330, 140, turn=1), _star(240, 360, 25), _star(310, 300, 30)]),
]


@pytest.mark.parametrize("format_name", WRITERS)
def test_the_three_formats_give_the_exact_coverage_of_the_same_shapes(tmp_path, format_name):
    areas = read_annotation(WRITERS[format_name](tmp_path / format_name, SHAPES))
    left, top = (axis.ravel() for axis in np.meshgrid(*[np.arange(3.5, 500, 61.25)] * 2))
    boxes_N4 = np.c_[left, top, left + 61.25, top + 61.25]
    exact_NC = [
        [
            slab_coverage([rings for name, rings in SHAPES if name == wanted], tuple(box))
            for wanted in ("normal", "tumor")
        ]
        for box in boxes_N4.tolist()
    ]
    assert list(areas) == ["normal", "tumor"]
    coverage_NC = class_coverage(list(areas.values()), boxes_N4)
    np.testing.assert_allclose(coverage_NC, exact_NC, atol=2e-7)
    assert (coverage_NC.sum(axis=1) > 1).any(), "classes that overlap keep what they cover"


def test_a_tile_takes_the_class_that_covers_most_of_it_from_the_threshold_on():
    geometries = [shapely.box(0, 0, 4, 10), shapely.box(0, 0, 10, 5)]
    boxes_N4 = np.array([[0, 0, 10, 10], [0, 5, 5, 10], [0, 0, 4, 4], [0, 5, 20, 25]], float)
    coverage_NC = class_coverage(geometries, boxes_N4)
    np.testing.assert_allclose(coverage_NC, [[0.4, 0.5], [0.8, 0], [1, 1], [0.05, 0]], atol=1e-7)
    assert labels_of(coverage_NC, min_coverage=0.5).tolist()[:2] == [1, 0]
    assert labels_of(coverage_NC, min_coverage=0.51).tolist()[:2] == [-1, 0]
    assert labels_of(coverage_NC, min_coverage=0.05).tolist()[3] == 0


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


@pytest.mark.parametrize("step", [40.0, 250.0, 2000.0])
def test_coverage_of_a_large_polygon_equals_that_of_intersections(step):
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


def test_class_coverage_takes_edges_of_almost_no_width_or_height():
    tiny = 5e-324
    leaning = shapely.Polygon([(0, 0), (10, tiny), (10, 10), (tiny, 10)])
    boxes_N4 = np.array([[0, 0, 10, 10], [-5, -5, 5, 5], [5, 5, 15, 15], [0, -10, 10, 0]], float)
    assert class_coverage([leaning], boxes_N4).ravel().tolist() == [1, 0.25, 0.25, 0]


def test_class_coverage_takes_boxes_of_many_sizes_in_any_order():
    geometry = _spiky(2000, n_spikes=50)
    corner_N2, side_N1 = np.hsplit(np.random.default_rng(0).uniform(1, 1000, (300, 3)), [2])
    boxes_N4 = np.hstack([corner_N2, corner_N2 + side_N1])
    # Boxes of different heights between the same sides.
    boxes_N4[100:, [0, 2]] = boxes_N4[0, [0, 2]]
    expected_N = shapely.area(shapely.intersection(geometry, shapely.box(*boxes_N4.T)))
    expected_N /= (boxes_N4[:, 2:] - boxes_N4[:, :2]).prod(axis=1)
    np.testing.assert_allclose(class_coverage([geometry], boxes_N4)[:, 0], expected_N, atol=1e-6)
