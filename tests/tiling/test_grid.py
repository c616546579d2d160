import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsimclr.tiling.grid import boxes_xyxy, grid_xy, to_level0_xy


def test_whole_tiles_lie_row_by_row_and_the_rest_is_dropped():
    grid = grid_xy((250, 199), tile_px=100, step_px=100, edge="drop")
    assert grid.tolist() == [[0, 0], [100, 0]]
    assert grid.dtype == np.int64
    square = grid_xy((200, 200), tile_px=100, step_px=100, edge="drop")
    assert square.tolist() == [[0, 0], [100, 0], [0, 100], [100, 100]]


def test_the_last_bits_of_a_float_cost_no_tile():
    assert len(grid_xy((0.7 * 3 / 0.7 * 100, 100), tile_px=100, step_px=100, edge="drop")) == 3
    assert len(grid_xy((299.9, 100), tile_px=100, step_px=100, edge="drop")) == 2


def test_steps_shorter_than_a_tile_overlap_and_longer_ones_leave_gaps():
    overlapping = grid_xy((250, 100), tile_px=100, step_px=50, edge="drop")
    assert overlapping[:, 0].tolist() == [0, 50, 100, 150]
    apart = grid_xy((450, 100), tile_px=100, step_px=150, edge="drop")
    assert apart[:, 0].tolist() == [0, 150, 300]


def test_padding_adds_the_tiles_that_reach_beyond():
    assert grid_xy((250, 100), tile_px=100, step_px=100, edge="pad")[:, 0].tolist() == [0, 100, 200]
    assert grid_xy((200, 100), tile_px=100, step_px=100, edge="pad")[:, 0].tolist() == [0, 100]
    assert grid_xy((30, 20), tile_px=100, step_px=100, edge="pad").tolist() == [[0, 0]]


def test_a_slide_smaller_than_a_tile_has_none():
    for size_xy in ((99, 500), (500, 99), (1, 1)):
        assert grid_xy(size_xy, tile_px=100, step_px=100, edge="drop").shape == (0, 2)


@settings(max_examples=200, deadline=None)
@given(
    size_xy=st.tuples(st.floats(1, 700), st.floats(1, 700)),
    tile_px=st.integers(8, 300),
    share=st.floats(0.1, 1),
    edge=st.sampled_from(["drop", "pad"]),
)
def test_the_grid_covers_what_it_promises(size_xy, tile_px, share, edge):
    step_px = max(1, int(tile_px * share))
    xy = grid_xy(size_xy, tile_px=tile_px, step_px=step_px, edge=edge)
    if edge == "drop" and min(size_xy) < tile_px - 1e-3:
        assert len(xy) == 0
        return
    assert len(np.unique(xy, axis=0)) == len(xy) > 0
    for axis, length in enumerate(size_xy):
        starts = np.unique(xy[:, axis])
        assert starts.tolist() == [i * step_px for i in range(len(starts))]
        end = starts[-1] + tile_px
        if edge == "drop":
            assert end <= length + 1e-3
            assert end + step_px > length - 1e-3
        else:
            assert end >= length - 1e-3
            assert starts[-1] < length
            assert len(starts) == 1 or end - step_px < length + 1e-3


@pytest.mark.parametrize("level0_per_px", [0.97, 1.0, 2.0005, 3.3, 4.0])
def test_level_0_corners_are_rounded_from_exact_places(level0_per_px):
    xy = grid_xy((9000, 10), tile_px=10, step_px=10, edge="drop")
    x = to_level0_xy(xy, level0_per_px=level0_per_px)[:, 0]
    exact = np.arange(900) * 10 * level0_per_px
    assert np.abs(x - exact).max() <= 0.5
    assert to_level0_xy(np.array([[1, 3]]), level0_per_px=0.5).tolist() == [[1, 2]]


def test_boxes_span_the_side_from_each_corner():
    boxes = boxes_xyxy(np.array([[0, 10], [5, 7]]), side=2.5)
    assert boxes.tolist() == [[0, 10, 2.5, 12.5], [5, 7, 7.5, 9.5]]
    assert boxes.dtype == np.float64
