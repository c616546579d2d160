from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile

from medsimclr.errors import SlideError
from medsimclr.slides.areas import BLANK, TISSUE
from medsimclr.store.schema import LEFT_OUT_REASONS
from medsimclr.tiling.cut import Cut, Limits
from medsimclr.tiling.slide_source import SlideSource
from tests.references.area_average import area_average_loops
from tests.references.slab_coverage import slab_coverage
from tests.slides.jpeg_slide import tissue


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory, write_slide):
    return write_slide(tmp_path_factory.mktemp("slides") / "a.tiff")


_CUT = Cut(target_mpp=0.5, tile_px=64, step_px=64)


def _open(path, *, cut=None, limits=None, **options):
    cut = {"step_px": (cut or {}).get("tile_px", 64), **(cut or {})}
    source = SlideSource(
        path=path, cut=replace(_CUT, **cut), limits=Limits(**(limits or {})), **options
    )
    return source.open(lambda: None)


def _images(opened):
    return np.stack([tile.pixels.copy() for tile in opened.tiles])


def test_tiles_at_the_scale_of_level_0_are_its_pixels(pyramid):
    opened = _open(pyramid.path)
    images = _images(opened)
    level0_xy = opened.tables["level0_xy"]
    assert len(images) == len(level0_xy) == 13 * 15
    for image, (x, y) in zip(images, level0_xy.tolist(), strict=True):
        np.testing.assert_array_equal(image, pyramid.levels[0][y : y + 64, x : x + 64])


def test_every_tile_of_tissue_is_kept_and_no_tile_of_glass(pyramid):
    opened = _open(pyramid.path)
    expected = [
        [x, y] for y in range(0, 1000 - 63, 64) for x in range(0, 1200 - 63, 64) if x >= 320
    ]
    assert opened.tables["level0_xy"].tolist() == expected
    assert opened.tables["tissue"].min() > 0.95
    everything = _open(pyramid.path, limits={"min_tissue": 0.0})
    assert len(everything.tables["level0_xy"]) == 18 * 15
    assert everything.tables["tissue"].min() == 0


def test_tiles_at_half_the_scale_are_area_averages_of_level_0(pyramid):
    opened = _open(pyramid.path, cut={"target_mpp": 1.0, "tile_px": 32})
    for image, (x, y) in zip(_images(opened), opened.tables["level0_xy"].tolist(), strict=True):
        region = pyramid.levels[0][y : y + 64, x : x + 64].astype(np.float64)
        means = region.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
        assert np.abs(image - means).max() <= 0.5
    assert opened.facts["level"] == 1
    assert opened.facts["resampling"] == "none"


def test_tiles_between_two_levels_are_area_averages_of_the_finer(pyramid):
    opened = _open(pyramid.path, cut={"target_mpp": 1.5, "tile_px": 32})
    images, level0_xy = _images(opened), opened.tables["level0_xy"]
    for index in (0, len(images) // 2, len(images) - 1):
        x, y = level0_xy[index] // 2
        expected = area_average_loops(pyramid.levels[1][y : y + 48, x : x + 48], (32, 32))
        assert np.abs(images[index] - expected).max() <= 1
    assert opened.facts["tile_level0_px"] == 96
    assert opened.facts["level_mpp"] == pytest.approx(1.0)
    assert opened.facts["resampling"] == "area"


def test_facts_name_scale_source_and_size(pyramid):
    facts = _open(pyramid.path, patient="p", centre="c").facts
    assert facts["mpp"] == pytest.approx(0.5)
    assert facts["mpp_source"] == "tiff resolution"
    assert facts["dimensions_level0_xy"] == (1200, 1000)
    assert (facts["patient"], facts["centre"], facts["slide_id"]) == ("p", "c", "a")


def test_a_given_scale_overrules_that_of_the_slide(pyramid):
    opened = _open(pyramid.path, given_mpp=0.25, given_mpp_source="slides.csv")
    assert opened.facts["tile_level0_px"] == 128
    assert opened.facts["mpp_source"] == "slides.csv"
    assert _open(pyramid.path, given_mpp=0.25).facts["mpp_source"] == "tiff resolution"


_POLYGONS = [
    ("stroma", [(400, 100), (1100, 180), (700, 900)]),
    ("tumor", [(330, 500), (650, 520), (600, 990), (340, 950)]),
]


def test_labels_are_the_classes_that_cover_most_of_each_tile(pyramid, write_geojson, tmp_path):
    annotation = write_geojson(tmp_path / "a.geojson", _POLYGONS)
    opened = _open(pyramid.path, classes=("other", "stroma", "tumor"), annotation=annotation)
    tables = opened.tables
    truth = np.array(
        [
            [0.0] + [slab_coverage([[ring]], (x, y, x + 64, y + 64)) for _, ring in _POLYGONS]
            for x, y in tables["level0_xy"].tolist()
        ]
    )
    np.testing.assert_allclose(tables["coverage"], truth, atol=1e-6)
    is_clear = (np.abs(truth.max(axis=1) - 0.5) > 1e-4) & (np.abs(truth[:, 1] - truth[:, 2]) > 1e-4)
    expected = np.where(truth.max(axis=1) >= 0.5, truth.argmax(axis=1), -1)
    np.testing.assert_array_equal(tables["label"][is_clear], expected[is_clear])
    assert set(expected[is_clear].tolist()) == {-1, 1, 2}


def test_a_slide_without_annotation_has_no_labels_and_no_coverage(pyramid):
    tables = _open(pyramid.path, classes=("a", "b")).tables
    assert set(tables["label"].tolist()) == {-1}
    assert tables["coverage"].shape == (len(tables["label"]), 2)
    assert tables["coverage"].max() == 0
    assert "coverage" not in _open(pyramid.path).tables


def test_mask_and_thumbnail_are_alike_in_size(pyramid):
    pictures = _open(pyramid.path).pictures
    assert pictures["thumbnail"].shape == (427, 512, 3)
    assert pictures["mask"].shape == (427, 512)
    assert set(np.unique(pictures["mask"])) <= {0, TISSUE, BLANK}
    assert (pictures["mask"] == TISSUE).mean() == pytest.approx(1 - 320 / 1200, abs=0.02)


def test_what_decides_the_content_decides_the_digests(pyramid, write_geojson, tmp_path):
    annotation = write_geojson(tmp_path / "a.geojson", _POLYGONS)
    base = {"path": pyramid.path, "cut": _CUT, "classes": ("stroma", "tumor")}
    sources = [
        SlideSource(**base),
        SlideSource(**base, patient="p"),
        SlideSource(**base, centre="p"),
        SlideSource(**base, given_mpp=0.5),
        SlideSource(**base, annotation=annotation),
    ]
    digests = [tuple(sorted(source.inputs().items())) for source in sources]
    assert len(set(digests)) == len(sources)
    assert SlideSource(**base).inputs() == sources[0].inputs()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"cut": {"tile_px": 1024}},
            r"slide 'a' gives no tile: at 0\.5 um/px a tile covers 1024 px",
        ),
        ({"cut": {"target_mpp": 0.25}}, r"0\.5 um/px, but 0\.25 um/px were asked"),
    ],
)
def test_a_slide_too_small_or_too_coarse_is_refused(pyramid, options, message):
    with pytest.raises(SlideError, match=message):
        _open(pyramid.path, **options)


def test_a_blank_slide_is_refused_with_advice(write_slide, tmp_path):
    blank = write_slide(tmp_path / "blank.tiff", blank=True)
    with pytest.raises(SlideError, match=r"none of 270 tiles is tissue .*lower --min-tissue"):
        _open(blank.path)


@pytest.fixture(scope="module")
def inked(tmp_path_factory):
    """A slide with glass, tissue, a broad stroke of blue ink, and a blurred part."""
    image = np.full((1024, 1536, 3), 245, np.uint8)
    image[:, 256:] = tissue((1280, 1024)) // 3 + np.array([120, 60, 110], np.uint8)
    image[:, 1024:] = cv2.GaussianBlur(image[:, 1024:], (0, 0), 6)
    image[300:700, 420:860] = (20, 40, 150)
    path = tmp_path_factory.mktemp("slides") / "inked.tiff"
    tifffile.imwrite(
        path, image, tile=(128, 128), photometric="rgb", resolution=(2e4, 2e4),
        resolutionunit="CENTIMETER", metadata=None,
    )  # fmt: skip
    return path


def _reasons(opened):
    rows = list(opened.tiles)
    of_tiles = [tile.left_out for tile in rows if tile.left_out is not None]
    found = np.concatenate([opened.left_out_M3[:, 2], np.array(of_tiles, np.int64)])
    kept = sum(tile.left_out is None for tile in rows)
    return kept, {name: int((found == i).sum()) for i, name in enumerate(LEFT_OUT_REASONS)}


def test_every_place_of_the_grid_is_kept_or_left_out_for_a_reason(inked):
    cut = {"tile_px": 128}
    n_places = 12 * 8
    kept, reasons = _reasons(_open(inked, cut=cut))
    assert kept + sum(reasons.values()) == n_places
    assert reasons["tissue"] >= 16
    assert reasons["ink"] == reasons["blank"] == reasons["focus"] == 0
    kept_clean, without_ink = _reasons(_open(inked, cut=cut, limits={"max_ink": 0.1}))
    assert without_ink["ink"] >= 6
    assert kept_clean + sum(without_ink.values()) == n_places
    _, without_blank = _reasons(_open(inked, cut=cut, limits={"min_tissue": 0.0, "max_blank": 0.5}))
    assert without_blank["blank"] == 16
    opened = _open(inked, cut=cut)
    xy, focus = opened.tables["level0_xy"], [tile.quality[0] for tile in opened.tiles]
    sharp, blurred = (np.array(focus)[part] for part in (xy[:, 0] < 384, xy[:, 0] > 1024))
    least = float((sharp.min() * blurred.max()) ** 0.5)
    assert sharp.min() > 3 * blurred.max()
    kept_sharp, without_blur = _reasons(_open(inked, cut=cut, limits={"min_focus": least}))
    assert without_blur["focus"] == int(np.sum(np.array(focus) < least)) > 20
    assert kept_sharp == kept - without_blur["focus"]


def test_a_slide_all_out_of_focus_is_refused_with_the_best_score(inked):
    opened = _open(inked, limits={"min_focus": 1e9})
    with pytest.raises(SlideError, match=r"none of \d+ tissue tiles has a focus of at least"):
        list(opened.tiles)
