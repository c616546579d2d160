import functools

import cv2
import numpy as np
import pytest

from medsimclr.slides.density import glass_rgb
from medsimclr.slides.ink import PENS, ink_mask
from medsimclr.slides.opening import open_slide
from tests.slides.pen_strokes import paint_stroke
from tests.slides.whole_slide import thumbnail_of

DAB, BLUE_HAEMATOXYLIN = (0.27, 0.57, 0.78), (0.55, 0.43, 0.24)


def find_ink(rgb_HW3):
    return ink_mask(np.ascontiguousarray(rgb_HW3), glass_3=glass_rgb(rgb_HW3))


@functools.cache
def real_thumbnail(shared_data, name):
    """A thumbnail of at most 2048 px."""
    with open_slide(shared_data / "slides" / name) as slide:
        return thumbnail_of(slide, max_px=2048)


def reduced(rgb_HW3, max_px):
    factor = min(max_px / max(rgb_HW3.shape), 1)
    return cv2.resize(rgb_HW3, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def read_rgb(path):
    return cv2.imread(str(path))[:, :, ::-1]


@pytest.mark.parametrize("max_px", [512, 700, 1024, 1400, 2048])
def test_ink_of_the_ink_slide_is_found_in_its_place_at_every_scale(shared_data, max_px):
    ink_HW = find_ink(reduced(real_thumbnail(shared_data, "flat_ink.jpeg"), max_px))
    assert 0.009 < ink_HW.mean() < 0.0105
    height, width = ink_HW.shape
    # The pen's core lies at 695 to 715 of 1024 columns and 140 to 160 of 183 rows.
    row, column = height / 183, width / 1024
    assert ink_HW[int(140 * row) : int(160 * row), int(695 * column) : int(715 * column)].all()
    ink_HW[int(125 * row) :, int(655 * column) : int(745 * column)] = False
    assert not ink_HW.any()


@pytest.mark.parametrize(
    "name",
    [
        "camelyon_overview_jpeg2000.dcm",
        "cmu_small_region.svs",
        "flat_he.jpeg",
        "tcga-cr-7395-01a-01-ts1.svs",
    ],
)
@pytest.mark.parametrize("max_px", [512, 1024, 2048])
def test_stained_tissue_is_no_ink(shared_data, name, max_px):
    assert not find_ink(reduced(real_thumbnail(shared_data, name), max_px)).any()


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_giemsa_is_no_ink_but_black_mineral_cannot_be_told_from_a_black_pen(shared_data, reduction):
    marrow_HW3 = real_thumbnail(shared_data, "bone_marrow_jpeg.dcm")
    size_xy = (957 // reduction, 715 // reduction)
    small_HW3 = cv2.resize(marrow_HW3, size_xy, interpolation=cv2.INTER_AREA)
    ink_HW = find_ink(small_HW3)
    assert ink_HW.mean() < 0.05
    assert ink_HW[small_HW3.max(axis=2) > 100].mean() < 0.005


@pytest.mark.slow
def test_tiles_of_tissue_hold_no_ink(shared_data):
    tiles = sorted((shared_data / "tiles" / "lc25000").glob("*/*.jp*g"))[::40]
    fields = sorted((shared_data / "images" / "breakhis100x").rglob("*.jp*g"))[::6]
    ink_shares = np.array([find_ink(read_rgb(path)).mean() for path in tiles + fields])
    assert len(ink_shares) > 200
    assert ink_shares.mean() < 1e-4
    assert (ink_shares > 0).mean() < 0.01


@pytest.mark.parametrize("name", ["camelyon_overview_jpeg2000.dcm", "flat_he.jpeg"])
@pytest.mark.parametrize(
    ("pen_rgb", "least"),
    [
        ((30, 50, 150), 0.97),
        ((60, 110, 190), 0.97),
        ((25, 65, 213), 0.97),
        ((20, 25, 80), 0.97),
        ((0, 120, 70), 0.97),
        ((60, 170, 120), 0.97),
        ((30, 110, 110), 0.97),
        ((30, 30, 35), 0.97),
        ((60, 60, 65), 0.93),
        ((200, 25, 40), 0.93),
        ((215, 60, 70), 0.88),
        ((120, 15, 30), 0.7),
        # Pale blue over tissue is as purple as haematoxylin; crimson as eosin.
        ((90, 140, 210), 0.8),
        ((170, 20, 50), 0.5),
    ],
)
def test_strokes_over_tissue_are_found(shared_data, name, pen_rgb, least):
    painted_HW3, stroke_HW = paint_stroke(reduced(real_thumbnail(shared_data, name), 1024), pen_rgb)
    ink_HW = find_ink(painted_HW3)
    kernel_KK = np.ones((5, 5), np.uint8)
    assert ink_HW[cv2.erode(stroke_HW.astype(np.uint8), kernel_KK) > 0].mean() >= least
    far_HW = cv2.dilate(stroke_HW.astype(np.uint8), np.ones((25, 25), np.uint8)) == 0
    assert ink_HW[far_HW].mean() < 0.001


def stained_disc(*, nuclei, brown, seed=0):
    """A disc of immunostained tissue, 500 px: fine blue nuclei, brown cells in some regions."""
    generator = np.random.default_rng(seed)

    def texture(scale_px):
        noise = cv2.GaussianBlur(generator.normal(size=(500, 500)), (0, 0), scale_px)
        return noise / noise.std()

    y, x = np.mgrid[:500, :500]
    disc = (y - 250) ** 2 + (x - 250) ** 2 < 200**2
    region = cv2.GaussianBlur((texture(50) > 0.4).astype(np.float64), (0, 0), 4)
    amounts = nuclei * np.clip(texture(1.5), 0, 3), brown * region * np.clip(texture(1.5) + 1, 0, 3)
    density = sum(
        amount[:, :, None] * np.array(dye)
        for amount, dye in zip(amounts, (BLUE_HAEMATOXYLIN, DAB), strict=True)
    )
    light = 243 * 10 ** -((density + 0.04) * disc[:, :, None])
    return np.clip(light + generator.normal(0, 1.5, light.shape), 0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("nuclei", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("brown", [0.0, 0.1, 0.5, 1.2])
def test_brown_and_blue_of_immunostains_are_no_ink(nuclei, brown):
    assert not find_ink(stained_disc(nuclei=nuclei, brown=brown)).any()


@pytest.mark.parametrize("pen_rgb", [(40, 150, 80), (30, 30, 35), (200, 25, 40)])
def test_strokes_over_an_immunostain_are_found(pen_rgb):
    painted_HW3, stroke_HW = paint_stroke(stained_disc(nuclei=0.4, brown=0.5), pen_rgb)
    assert find_ink(painted_HW3)[stroke_HW].mean() > 0.7


def test_a_pen_of_the_colour_of_the_dye_is_not_told_from_it(shared_data):
    marrow_HW3 = real_thumbnail(shared_data, "bone_marrow_jpeg.dcm")
    painted_HW3, stroke_HW = paint_stroke(marrow_HW3, (30, 50, 150))
    assert (find_ink(painted_HW3) & stroke_HW).sum() <= (find_ink(marrow_HW3) & stroke_HW).sum()


def test_many_flat_patches_are_cells_seen_from_too_near():
    """What a picture at 0.25 um/px shows of nuclei, on tissue that keeps blue from being a dye."""
    slide_HW3 = np.full((600, 600, 3), (225, 150, 190), np.uint8)
    for y in range(30, 600, 60):
        for x in range(30, 600, 60):
            cv2.circle(slide_HW3, (x, y), 11, (40, 60, 140), -1)
    assert not find_ink(slide_HW3).any()
    slide_HW3[180:] = (225, 150, 190)
    assert find_ink(slide_HW3).any()


def test_ink_alone_on_glass_is_ink():
    glass_HW3 = np.full((400, 500, 3), 243, np.uint8)
    painted_HW3, stroke_HW = paint_stroke(glass_HW3, (30, 50, 150))
    assert find_ink(painted_HW3)[stroke_HW].all()


def test_ink_blurred_so_far_that_its_fringe_reaches_beyond_the_limit_is_still_ink():
    glass_HW3 = np.full((400, 500, 3), 243, np.uint8)
    painted_HW3, stroke_HW = paint_stroke(glass_HW3, (30, 50, 150), width_px=50, blur_px=14.0)
    assert find_ink(painted_HW3)[stroke_HW].all()


def test_a_line_thinner_than_a_stroke_is_no_ink():
    glass_HW3 = np.full((400, 500, 3), 243, np.uint8)
    assert not find_ink(paint_stroke(glass_HW3, (30, 50, 150), width_px=1)[0]).any()


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 40), (3, 2), (2000, 3)])
def test_ink_mask_takes_the_smallest_thumbnails(size_hw):
    ink_HW = find_ink(np.full((*size_hw, 3), 240, np.uint8))
    assert ink_HW.shape == size_hw
    assert not ink_HW.any()


def test_pens_name_each_limit_with_its_unit():
    for pen in PENS:
        assert all(name.rsplit("_", 1)[1] in ("od", "share", "channel") for name in pen.limits())
