import dataclasses
import json

import numpy as np
import pytest

from medsimclr.slides import density, ink, tissue
from medsimclr.slides.areas import (
    AREA_THRESHOLDS,
    BLANK,
    INK,
    NEITHER,
    TISSUE,
    area_fraction,
    find_areas,
)
from medsimclr.slides.opening import open_slide
from tests.slides.pen_strokes import paint_stroke
from tests.slides.whole_slide import thumbnail_of

GLASS, PINK, NAVY, SMOKE = (242, 242, 242), (215, 130, 180), (30, 50, 150), (20, 20, 20)


def shares(areas_HW):
    return [float((areas_HW == code).mean()) for code in (NEITHER, TISSUE, INK, BLANK)]


def painted_slide():
    """Glass of 400 x 600 with a pink field, a navy stroke across it, padding and a black fold."""
    slide_HW3 = np.full((400, 600, 3), GLASS, np.uint8)
    slide_HW3[100:300, 100:300] = PINK
    slide_HW3[180:220, 50:350] = NAVY
    slide_HW3[:, 500:] = 0
    slide_HW3[330:340, 100:104] = SMOKE
    return slide_HW3


def test_find_areas_tells_tissue_ink_glass_padding_and_folds_apart():
    areas_HW = find_areas(painted_slide())
    assert areas_HW.dtype == np.uint8
    assert (areas_HW[110:170, 110:290] == TISSUE).all()
    assert (areas_HW[230:290, 110:290] == TISSUE).all()
    assert (areas_HW[184:216, 54:346] == INK).all()
    assert (areas_HW[10:90, 10:490] == BLANK).all()
    assert (areas_HW[:, 504:] == BLANK).all()
    assert (areas_HW[332:338, 101:103] == NEITHER).all()


def test_a_speck_is_neither():
    slide_HW3 = np.full((200, 300, 3), GLASS, np.uint8)
    slide_HW3[50:53, 50:53] = (200, 40, 120)
    areas_HW = find_areas(slide_HW3)
    assert areas_HW[51, 51] == NEITHER
    assert (areas_HW == BLANK).mean() > 0.999


@pytest.mark.parametrize("pen_rgb", [(30, 50, 150), (40, 150, 80), (200, 25, 40), (30, 30, 35)])
def test_ink_alone_leaves_no_tissue_at_its_edges(pen_rgb):
    glass_HW3 = np.full((400, 500, 3), GLASS, np.uint8)
    areas_HW = find_areas(paint_stroke(glass_HW3, pen_rgb)[0])
    assert (areas_HW == INK).mean() > 0.1
    assert (areas_HW == TISSUE).mean() < 0.0005


def test_dark_ground_is_blank_and_nuclei_are_tissue():
    slide_HW3 = np.zeros((300, 400, 3), np.uint8)
    for y in range(60, 240, 22):
        for x in range(80, 320, 22):
            slide_HW3[y : y + 6, x : x + 6, 2] = 120
    areas_HW = find_areas(slide_HW3)
    assert (areas_HW[62:238, 86:300] == TISSUE).mean() > 0.99
    assert (areas_HW[:40] == BLANK).all()


@pytest.mark.parametrize("level", [0, 5, 20, 128, 200, 243, 255])
@pytest.mark.parametrize("noise", [0, 3])
def test_an_empty_slide_holds_no_tissue_and_no_ink(level, noise):
    deviation = np.random.default_rng(0).normal(0, noise, (200, 300, 3))
    empty_HW3 = np.clip(level + deviation, 0, 255).round().astype(np.uint8)
    assert not np.isin(find_areas(empty_HW3), (TISSUE, INK)).any()


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 40), (3, 2)])
def test_find_areas_takes_the_smallest_thumbnails(size_hw):
    assert find_areas(np.full((*size_hw, 3), 240, np.uint8)).shape == size_hw


@pytest.mark.parametrize(
    ("name", "tissue", "ink", "blank"),
    [
        ("bone_marrow_jpeg.dcm", 0.80, 0.045, 0.154),
        ("camelyon_overview_jpeg2000.dcm", 0.35, 0.0, 0.65),
        ("cmu_small_region.svs", 0.365, 0.0, 0.635),
        ("flat_he.jpeg", 0.80, 0.0, 0.20),
        ("flat_ink.jpeg", 0.294, 0.0088, 0.697),
        ("fluorescence_dapi.ndpi", 0.72, 0.0, 0.28),
        ("tcga-cr-7395-01a-01-ts1.svs", 0.627, 0.0, 0.373),
    ],
)
def test_areas_of_real_slides_are_what_the_eye_sees(shared_data, name, tissue, ink, blank):
    with open_slide(shared_data / "slides" / name) as slide:
        areas_HW = find_areas(thumbnail_of(slide, max_px=1024))
    assert shares(areas_HW) == pytest.approx([0.0, tissue, ink, blank], abs=0.01)
    assert ((areas_HW == INK).any()) == (ink > 0)


def test_area_fraction_measures_each_code():
    areas_HW = np.array([[TISSUE, TISSUE, INK, BLANK], [TISSUE, NEITHER, INK, BLANK]], np.uint8)
    boxes_xyxy = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2.5, 0, 4.5, 2]])
    assert area_fraction(areas_HW, TISSUE, boxes_xyxy).tolist() == [0.75, 0.25, 0.0]
    assert area_fraction(areas_HW, INK, boxes_xyxy).tolist() == [0.0, 0.5, 0.25]
    assert area_fraction(areas_HW, BLANK, boxes_xyxy).tolist() == [0.0, 0.0, 0.5]
    assert area_fraction(areas_HW, NEITHER, boxes_xyxy).dtype == np.float32


def test_thresholds_are_numbers_with_units_that_json_keeps():
    assert json.loads(json.dumps(AREA_THRESHOLDS)) == AREA_THRESHOLDS
    units = {name.rsplit("_", 1)[1] for name in AREA_THRESHOLDS}
    assert units == {"od", "level", "px", "share", "percentile", "channel", "cores"}


def test_every_number_that_areas_hang_on_is_among_the_thresholds():
    # Private numbers are of the computation: they change no mask.
    numbers = [
        getattr(module, name)
        for module in (density, ink, tissue)
        for name in module.__all__
        if name.isupper() and name != "PENS"
    ]
    for pen in ink.PENS:
        limits = [limit for name, limit in dataclasses.asdict(pen).items() if name != "name"]
        numbers.extend(np.hstack(limits).tolist())
    assert sorted(AREA_THRESHOLDS.values()) == sorted(numbers)
