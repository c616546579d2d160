import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medsimclr.tiling.grid import boxes_xyxy, grid_level0_xy


def test_whole_tiles_lie_row_by_row_and_the_rest_is_dropped():
    grid = grid_level0_xy((250, 199), tile_level0_px=100)
    assert grid.tolist() == [[0, 0], [100, 0]]
    assert grid.dtype == np.int64
    assert grid_level0_xy((200, 200), tile_level0_px=100).tolist() == [
        [0, 0],
        [100, 0],
        [0, 100],
        [100, 100],
    ]


def test_corners_are_rounded_from_exact_multiples():
    xy = grid_level0_xy((1000, 100), tile_level0_px=99.6)
    assert xy[:, 0].tolist() == [round(99.6 * i) for i in range(10)]


def test_a_slide_smaller_than_a_tile_has_none():
    for size_xy in ((99, 500), (500, 99), (1, 1)):
        assert grid_level0_xy(size_xy, tile_level0_px=100).shape == (0, 2)


@settings(max_examples=200, deadline=None)
@given(
    size_xy=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    side=st.floats(20, 300),
)
def test_the_grid_covers_the_slide_without_overlap(size_xy, side):
    xy = grid_level0_xy(size_xy, tile_level0_px=side)
    for axis, length in enumerate(size_xy):
        starts = np.unique(xy[:, axis])
        if len(xy) == 0:
            continue
        assert starts[0] == 0
        assert np.all(np.abs(np.diff(starts) - side) <= 1)
        assert np.all(np.abs(starts - np.arange(len(starts)) * side) <= 0.5)
        end = len(starts) * side
        assert end <= length + 0.5 + 1e-6
        assert length - end < side
    n_columns, n_rows = (int((length + 0.5) / side) for length in size_xy)
    assert len(xy) == n_columns * n_rows == len(np.unique(xy, axis=0))


def test_boxes_span_the_side_from_each_corner():
    boxes = boxes_xyxy(np.array([[0, 10], [5, 7]]), side=2.5)
    assert boxes.tolist() == [[0, 10, 2.5, 12.5], [5, 7, 7.5, 9.5]]
    assert boxes.dtype == np.float64
