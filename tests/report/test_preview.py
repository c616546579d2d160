import io

import numpy as np
import pytest
from PIL import Image

from medsimclr.report.preview import preview_figure

CLASS_NAMES = ("normal", "tumour")


def draw_figure(**changes):
    """Four 100-pixel tiles on a slide of 600 x 400 pixels, whose tissue is x 100-500, y 100-300."""
    mask_HW = np.zeros((40, 60), np.bool_)
    mask_HW[10:30, 10:50] = True
    arguments = {
        "mask_HW": mask_HW,
        "level0_xy_N2": np.array([[100, 100], [200, 100], [300, 100], [100, 200]]),
        "tile_level0_px": 100.0,
        "dimensions_level0_xy": (600, 400),
        "label_N": np.array([0, 1, -1, 0]),
        "class_names": CLASS_NAMES,
    }
    return preview_figure(np.full((20, 30, 3), 230, np.uint8), **(arguments | changes))


def tile_collections(figure):
    return figure.axes[1].collections[:-1]  # the last is the outline


def corners_of(collection):
    return [path.vertices[[0, 2]].tolist() for path in collection.get_paths()]


def test_tiles_stand_at_their_level0_place_by_label():
    unlabelled, normal, tumour = tile_collections(draw_figure())
    assert corners_of(unlabelled) == [[[300, 100], [400, 200]]]
    assert corners_of(normal) == [[[100, 100], [200, 200]], [[100, 200], [200, 300]]]
    assert corners_of(tumour) == [[[200, 100], [300, 200]]]


def test_outline_follows_the_mask_in_level0_pixels():
    outline = draw_figure().axes[1].collections[-1].get_paths()[0].vertices
    np.testing.assert_allclose(outline.min(axis=0), [100, 100], atol=1e-6)
    np.testing.assert_allclose(outline.max(axis=0), [500, 300], atol=1e-6)


def test_outline_closes_at_the_edges_of_a_slide_full_of_tissue():
    figure = draw_figure(mask_HW=np.ones((4, 6), np.bool_))
    outline = figure.axes[1].collections[-1].get_paths()[0].vertices
    assert outline.min() >= 0
    np.testing.assert_allclose(outline[0], outline[-1])


def test_titles_count_tiles_and_tissue():
    slide, tiling = draw_figure().axes
    assert slide.get_title() == "Slide, 600 x 400 pixels"
    assert tiling.get_title() == "4 tissue tiles; 33% of the slide is tissue"


def test_legend_names_the_labels_that_occur():
    legend = draw_figure(label_N=np.array([-1, 1, 1, 1])).axes[1].get_legend()
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["no label (1 tile)", "tumour (3 tiles)", "tissue outline"]


def test_labels_have_distinct_colours():
    colours = {tuple(drawn.get_facecolor()[0]) for drawn in tile_collections(draw_figure())}
    assert len(colours) == 3


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
        mask_HW=np.zeros((4, 6), np.bool_),
        level0_xy_N2=np.zeros((0, 2), np.int64),
        label_N=np.zeros(0, np.int64),
    )
    figure.savefig(io.BytesIO())
    assert figure.axes[1].get_title() == "0 tissue tiles; 0% of the slide is tissue"
