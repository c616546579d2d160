import numpy as np
import pytest
import shapely

from medsimclr.slides.annotations.polygons import cut, polygon, union


def _scribble(n_points):
    return np.random.default_rng(0).uniform(0, 1000, (n_points, 2))


def test_polygon_keeps_a_ring_within_a_ring_that_turns_the_other_way():
    keyhole = [(0, 0), (9, 0), (9, 9), (0, 9), (0, 0), (3, 3), (3, 6), (6, 6), (6, 3), (3, 3)]
    area = polygon([np.array(keyhole, float)])
    assert area.is_valid
    assert area.area == 72


def test_polygon_takes_a_hole_that_crosses_its_outline():
    square = np.array([(0, 0), (9, 0), (9, 9), (0, 9)], float)
    area = polygon([square, square + 6])
    assert area.is_valid
    assert area.area == 81 - 9


def test_union_and_cut_leave_nothing_but_areas():
    left, right = shapely.box(0, 0, 1, 1), shapely.box(1, 0, 2, 1)
    assert union([left, right]).equals(shapely.box(0, 0, 2, 1))
    assert cut(left, [right]).equals(left)
    assert cut(left, [left]).area == 0
    corner = cut(shapely.box(0, 0, 2, 2), [left, shapely.box(1, 1, 2, 2)])
    assert corner.geom_type == "MultiPolygon"
    assert corner.area == 2


def test_a_scribble_is_refused_before_it_takes_all_memory():
    with pytest.raises(ValueError, match=r"must not cross .* more than 500,000 times, got about 2"):
        polygon([_scribble(50_000)])
    assert polygon([_scribble(300)]).is_valid


def test_a_lattice_of_strips_is_refused_before_it_takes_all_memory():
    n_strips = 3000
    rows = [shapely.box(0, 2 * row, 2 * n_strips, 2 * row + 1) for row in range(n_strips)]
    columns = [shapely.box(2 * row, 0, 2 * row + 1, 2 * n_strips) for row in range(n_strips)]
    with pytest.raises(
        ValueError, match=r"must not cross .* more than 500,000 times, got about 3\.\de\+07"
    ):
        union([*rows, *columns])
    with pytest.raises(ValueError, match="must not cross"):
        cut(union(rows), [union(columns)])
    assert union(rows).area == 2 * n_strips**2
