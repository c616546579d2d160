import io
import time

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.contour import ContourSet
from PIL import Image

from medsimclr.report.preview import preview_figure
from medsimclr.slides.areas import BLANK, INK, TISSUE

CLASS_NAMES = ("normal", "tumour")


REASON_NAMES = ("no tissue", "ink", "blank", "out of focus")


def draw_figure(**changes):
    """Four 100-pixel tiles on a slide of 600 x 400 pixels, whose tissue is x 100-500, y 100-300.

    Ink is x 400-500, y 100-200; the tile there was left out, and one on the glass.
    """
    areas_HW = np.full((40, 60), BLANK, np.uint8)
    areas_HW[10:30, 10:50] = TISSUE
    areas_HW[10:20, 40:50] = INK
    arguments = {
        "areas_HW": areas_HW,
        "level0_xy_N2": np.array([[100, 100], [200, 100], [300, 100], [100, 200]]),
        "tile_level0_px": 100.0,
        "dimensions_level0_xy": (600, 400),
        "label_N": np.array([0, 1, -1, 0]),
        "class_names": CLASS_NAMES,
        "left_out_level0_xy_M2": np.array([[0, 0], [500, 300], [400, 100]]),
        "left_out_reason_M": np.array([0, 0, 1]),
        "reason_names": REASON_NAMES,
    }
    return preview_figure(np.full((20, 30, 3), 230, np.uint8), **(arguments | changes))


def nothing_left_out():
    return {
        "left_out_level0_xy_M2": np.zeros((0, 2), np.int64),
        "left_out_reason_M": np.zeros(0, np.int64),
    }


def squares_of(figure):
    """Groups of squares, in the order in which they are drawn."""
    return [drawn for drawn in figure.axes[1].collections if isinstance(drawn, PolyCollection)]


def outlines_of(figure):
    return [drawn for drawn in figure.axes[1].collections if isinstance(drawn, ContourSet)]


def corners_of(collection):
    return [path.vertices[[0, 2]].tolist() for path in collection.get_paths()]


def test_tiles_stand_at_their_level0_place_by_label_and_reason():
    corners = [corners_of(group) for group in squares_of(draw_figure())]
    assert sorted(corners) == [
        [[[0, 0], [100, 100]], [[500, 300], [600, 400]]],
        [[[100, 100], [200, 200]], [[100, 200], [200, 300]]],
        [[[200, 100], [300, 200]]],
        [[[300, 100], [400, 200]]],
        [[[400, 100], [500, 200]]],
    ]


def test_the_rarest_are_drawn_last():
    figure = draw_figure(left_out_reason_M=np.array([2, 2, 2]))
    counts = [len(group.get_paths()) for group in squares_of(figure)]
    assert counts == [3, 2, 1, 1]


def test_outlines_follow_tissue_and_ink_in_level0_pixels():
    tissue, ink = outlines_of(draw_figure())
    (vertices,) = [path.vertices for path in ink.get_paths()]
    np.testing.assert_allclose(vertices.min(axis=0), [400, 100], atol=1e-6)
    np.testing.assert_allclose(vertices.max(axis=0), [500, 200], atol=1e-6)
    vertices = tissue.get_paths()[0].vertices
    np.testing.assert_allclose(vertices.min(axis=0), [100, 100], atol=1e-6)
    np.testing.assert_allclose(vertices.max(axis=0), [500, 300], atol=1e-6)
    assert to_hex(tissue.get_edgecolor()[0]) != to_hex(ink.get_edgecolor()[0])


def test_outline_closes_at_the_edges_of_a_slide_full_of_tissue():
    (tissue,) = outlines_of(draw_figure(areas_HW=np.full((4, 6), TISSUE, np.uint8)))
    vertices = tissue.get_paths()[0].vertices
    assert vertices.min() >= 0
    np.testing.assert_allclose(vertices[0], vertices[-1])


def test_titles_count_tiles_tissue_and_ink():
    slide, tiling = draw_figure().axes
    assert slide.get_title() == "Slide, 600 x 400 pixels"
    assert tiling.get_title() == "4 tiles kept, 3 left out\n29% of the slide is tissue, 4.2% ink"


def test_legend_names_the_labels_and_reasons_that_occur():
    legend = draw_figure(label_N=np.array([-1, 1, 1, 1])).axes[1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [
        "no label (1 tile)",
        "tumour (3 tiles)",
        "left out: no tissue (2)",
        "left out: ink (1)",
        "tissue outline",
        "ink outline",
    ]


def test_legend_lies_inside_the_picture_of_a_tall_slide():
    figure = draw_figure(
        dimensions_level0_xy=(2220, 2967),
        left_out_level0_xy_M2=np.zeros((8, 2), np.int64),
        left_out_reason_M=np.array([0, 0, 0, 1, 1, 2, 2, 3]),
    )
    figure.canvas.draw()
    legend = figure.axes[1].get_legend().get_window_extent()
    assert legend.y0 >= 0
    assert legend.x1 <= figure.bbox.x1


def test_small_tiles_have_no_lines_that_would_bury_the_slide():
    large, small = draw_figure(), draw_figure(tile_level0_px=3.0)
    assert all(len(group.get_edgecolor()) == 1 for group in squares_of(large))
    assert all(len(group.get_edgecolor()) == 0 for group in squares_of(small))


def test_labels_and_reasons_have_distinct_colours():
    figure = draw_figure(
        left_out_level0_xy_M2=np.zeros((4, 2), np.int64), left_out_reason_M=np.arange(4)
    )
    assert len({tuple(group.get_facecolor()[0]) for group in squares_of(figure)}) == 7
    assert len({tuple(group.get_edgecolor()[0]) for group in squares_of(figure)}) == 7


def test_a_hundred_thousand_tiles_are_drawn_within_seconds():
    xy_K2 = np.stack(np.meshgrid(np.arange(400), np.arange(250)), axis=-1).reshape(-1, 2) * 224
    is_kept = np.arange(len(xy_K2)) % 3 == 0
    began_s = time.process_time()
    draw_figure(
        level0_xy_N2=xy_K2[is_kept],
        label_N=np.arange(is_kept.sum()) % 2,
        tile_level0_px=224.0,
        dimensions_level0_xy=(400 * 224, 250 * 224),
        left_out_level0_xy_M2=xy_K2[~is_kept],
        left_out_reason_M=np.arange((~is_kept).sum()) % 4,
    ).savefig(io.BytesIO())
    assert time.process_time() - began_s < 8


def test_both_panels_show_the_whole_slide_with_y_down():
    for axes in draw_figure().axes:
        assert axes.get_xlim() == (0, 600)
        assert axes.get_ylim() == (400, 0)


@pytest.mark.parametrize("dimensions_level0_xy", [(600, 400), (4000, 300), (300, 4000)])
def test_figure_saves_as_a_picture(dimensions_level0_xy):
    file = io.BytesIO()
    draw_figure(dimensions_level0_xy=dimensions_level0_xy).savefig(file)
    assert min(Image.open(file).size) > 200


def test_slide_without_tissue_or_tiles_is_drawn():
    figure = draw_figure(
        areas_HW=np.zeros((4, 6), np.uint8),
        level0_xy_N2=np.zeros((0, 2), np.int64),
        label_N=np.zeros(0, np.int64),
        **nothing_left_out(),
    )
    figure.savefig(io.BytesIO())
    assert figure.axes[1].get_title() == "0 tiles kept\n0% of the slide is tissue"
    assert figure.axes[1].get_legend() is None
