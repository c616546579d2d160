import io

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from medsimclr.report.heatmap import heatmap_figure

CLASS_NAMES = ("normal", "tumour")


def draw_figure(**changes):
    """A 4 x 2 grid of 100-pixel tiles on a slide of 600 x 400 pixels, the left ones labelled."""
    tile_xy = np.array([(x, y) for y in (100, 200) for x in (100, 200, 300, 400)])
    arguments = {
        "level0_xy_N2": tile_xy,
        "tile_level0_px": 100.0,
        "dimensions_level0_xy": (600, 400),
        "probability_N": np.linspace(0, 1, 8),
        "label_N": np.array([0, 1, -1, -1, 0, 1, -1, -1]),
        "class_name": "tumour",
        "class_names": CLASS_NAMES,
    }
    return heatmap_figure(np.full((40, 60, 3), 230, np.uint8), **(arguments | changes))


def corners_of(collection):
    return [path.vertices[[0, 2]].tolist() for path in collection.get_paths()]


def test_tiles_stand_at_their_level0_place_with_their_probability():
    heat = draw_figure().axes[2].collections[0]
    assert corners_of(heat)[0] == [[100, 100], [200, 200]]
    assert corners_of(heat)[7] == [[400, 200], [500, 300]]
    assert heat.get_array().tolist() == np.linspace(0, 1, 8).tolist()
    assert heat.get_clim() == (0, 1)


def test_all_panels_show_the_whole_slide_with_y_down():
    for axes in draw_figure().axes[:3]:
        assert axes.get_xlim() == (0, 600)
        assert axes.get_ylim() == (400, 0)


def test_labels_have_distinct_colours_and_a_legend():
    annotation = draw_figure().axes[1]
    names = [text.get_text() for text in annotation.get_legend().get_texts()]
    assert names == ["no label (4 tiles)", "normal (2 tiles)", "tumour (2 tiles)"]
    colours = {tuple(collection.get_facecolor()[0]) for collection in annotation.collections}
    assert len(colours) == 3
    tumour = annotation.collections[2]
    assert corners_of(tumour) == [[[200, 100], [300, 200]], [[200, 200], [300, 300]]]


def test_a_slide_without_labels_says_so():
    assert draw_figure(label_N=np.full(8, -1)).axes[1].get_title() == "No annotation"


@pytest.mark.parametrize("dimensions", [(600, 400), (600, 6000), (9000, 400)])
def test_figure_renders_at_any_aspect_without_warnings(dimensions):
    target = io.BytesIO()
    draw_figure(dimensions_level0_xy=dimensions).savefig(target)
    with Image.open(target) as picture:
        assert 200 < picture.width < 2500
        assert 200 < picture.height < 2500


def test_a_certain_tile_has_the_colour_of_the_end_of_the_scale():
    target = io.BytesIO()
    draw_figure(probability_N=np.ones(8)).savefig(target)
    with Image.open(target) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(float)
    end = np.array(colormaps["viridis"](1.0)[:3]) * 255
    grey = 255 * (0.4 + 0.6 * 230 / 255)
    assert (np.abs(pixels - (0.7 * end + 0.3 * grey)).max(axis=1) < 3).sum() > 1000


def test_a_slide_without_tiles_is_drawn():
    figure = draw_figure(
        level0_xy_N2=np.zeros((0, 2), np.int64), probability_N=np.zeros(0), label_N=np.zeros(0, int)
    )
    figure.savefig(io.BytesIO())
