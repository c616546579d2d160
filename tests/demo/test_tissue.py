import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsimclr.demo.levelling import level_kinds
from medsimclr.demo.noise import smooth_field
from medsimclr.demo.nuclei import EPITHELIAL, TUMOR, nucleus_bank, stamp_nuclei
from medsimclr.demo.stain import CENTRES, STAIN_VECTORS, stain_to_rgb
from medsimclr.demo.tissue import draw_tissue
from tests.references.beer_lambert import beer_lambert_reference


def halves(side_px):
    """Tumour on the right half, tissue everywhere but in a frame of 32 pixels."""
    tumor_HW = np.zeros((side_px, side_px), np.bool_)
    tumor_HW[:, side_px // 2 :] = True
    tissue_HW = np.zeros_like(tumor_HW)
    tissue_HW[32:-32, 32:-32] = True
    return tumor_HW, tissue_HW


@pytest.fixture(scope="module")
def drawn():
    tumor_HW, tissue_HW = halves(640)
    return draw_tissue(tumor_HW, tissue_HW, np.random.default_rng(7)), tumor_HW, tissue_HW


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    scale_px=st.floats(0.5, 500),
)
def test_smooth_field_has_the_asked_shape(height, width, scale_px):
    field = smooth_field((height, width), scale_px, np.random.default_rng(0))
    assert field.shape == (height, width)
    assert field.dtype == np.float32
    assert np.isfinite(field).all()


@pytest.mark.parametrize("scale_px", [3, 14, 60])
def test_smooth_field_has_unit_deviation(scale_px):
    field = smooth_field((1500, 1500), scale_px, np.random.default_rng(0))
    assert abs(field.mean()) < 0.1
    assert field.std() == pytest.approx(1, abs=0.15)


def test_tumour_nuclei_are_larger_and_more_uneven():
    areas = {}
    for kind in (EPITHELIAL, TUMOR):
        opacity_K1SS, _ = nucleus_bank(kind, np.random.default_rng(0))
        areas[kind] = opacity_K1SS.sum(axis=(1, 2, 3))
    assert areas[TUMOR].mean() > 1.5 * areas[EPITHELIAL].mean()
    assert np.std(areas[TUMOR]) / areas[TUMOR].mean() > 2 * (
        np.std(areas[EPITHELIAL]) / areas[EPITHELIAL].mean()
    )


def test_nucleus_lies_along_its_angle():
    for angle, long_axis in ((0.0, 1), (np.pi / 2, 0)):
        canvas_2HW = np.zeros((2, 60, 60), np.float32)
        centre = np.array([[30, 30]])
        stamp_nuclei(
            canvas_2HW, centre, np.array([angle]), kind=EPITHELIAL, rng=np.random.default_rng(0)
        )
        spread = np.std(np.argwhere(canvas_2HW[0] > 0.4), axis=0)
        assert np.argmax(spread) == long_axis


def test_nuclei_across_the_edge_are_left_out():
    canvas_2HW = np.zeros((2, 60, 60), np.float32)
    corners_N2 = np.array([[0, 0], [59, 59], [0, 30], [30, 59]])
    stamp_nuclei(canvas_2HW, corners_N2, np.zeros(4), kind=TUMOR, rng=np.random.default_rng(0))
    assert not canvas_2HW.any()


def test_tissue_is_stained_and_glass_is_not(drawn):
    canvas_2HW, _, tissue_HW = drawn
    assert canvas_2HW.dtype == np.float32
    assert canvas_2HW.min() >= 0
    assert canvas_2HW[:, :24].max() == 0
    assert (canvas_2HW[:, tissue_HW].mean(axis=1) > 0.1).all()


def test_drawing_is_a_function_of_the_generator(drawn):
    canvas_2HW, tumor_HW, tissue_HW = drawn
    again_2HW = draw_tissue(tumor_HW, tissue_HW, np.random.default_rng(7))
    other_2HW = draw_tissue(tumor_HW, tissue_HW, np.random.default_rng(8))
    np.testing.assert_array_equal(again_2HW, canvas_2HW)
    assert not np.array_equal(other_2HW, canvas_2HW)


@pytest.mark.parametrize("is_tumor", [False, True])
def test_one_kind_alone_can_be_drawn(is_tumor):
    tumor_HW = np.full((300, 260), is_tumor)
    tissue_HW = np.ones_like(tumor_HW)
    canvas_2HW = draw_tissue(tumor_HW, tissue_HW, np.random.default_rng(0))
    assert canvas_2HW.shape == (2, 300, 260)
    assert level_kinds(canvas_2HW, tumor_HW, tissue_HW) is canvas_2HW


def test_levelled_kinds_have_the_same_joint_distribution(drawn):
    canvas_2HW, tumor_HW, tissue_HW = drawn
    # Away from the seam, where the two maps are blended.
    columns = np.abs(np.arange(640) - 320) > 40
    normal_HW, kind_HW = tissue_HW & ~tumor_HW & columns, tissue_HW & tumor_HW & columns

    def distance(planes_2HW):
        edges = [np.linspace(0, 1.6, 9), np.linspace(0, 0.8, 9)]
        counts = [
            np.histogram2d(*planes_2HW[:, mask_HW], bins=edges)[0] / mask_HW.sum()
            for mask_HW in (normal_HW, kind_HW)
        ]
        return np.abs(counts[0] - counts[1]).sum() / 2

    levelled_2HW = level_kinds(canvas_2HW, tumor_HW, tissue_HW)
    assert distance(canvas_2HW) > 0.2
    assert distance(levelled_2HW) < 0.07


def test_levelling_keeps_the_order_of_haematoxylin(drawn):
    canvas_2HW, tumor_HW, tissue_HW = drawn
    levelled_2HW = level_kinds(canvas_2HW, tumor_HW, tissue_HW)
    before, after = canvas_2HW[0, 100:540, 40:240].ravel(), levelled_2HW[0, 100:540, 40:240].ravel()
    order = np.argsort(before, kind="stable")
    assert np.diff(after[order]).min() > -1e-5


def test_stain_vectors_have_unit_length():
    np.testing.assert_allclose(np.linalg.norm(STAIN_VECTORS, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("centre", ["A", "B"])
def test_stain_to_rgb_equals_pixelwise_beer_lambert(monkeypatch, centre):
    monkeypatch.setattr("medsimclr.demo.stain._SENSOR_NOISE", 0.0)
    monkeypatch.setattr("medsimclr.demo.stain._HUE_SPREAD", {})
    monkeypatch.setattr(
        "medsimclr.demo.stain.smooth_field", lambda shape_hw, *_: np.zeros(shape_hw, np.float32)
    )
    rng = np.random.default_rng(0)
    canvas_2HW = rng.uniform(0, 2, (2, 7, 9)).astype(np.float32)
    appearance = CENTRES[centre]
    rgb_HW3 = stain_to_rgb(canvas_2HW, appearance=appearance, strength=(1.1, 0.9), rng=rng)
    expected_HW3 = beer_lambert_reference(
        canvas_2HW,
        stain_gain=appearance.stain_gain,
        strength=(1.1, 0.9),
        channel_gain=appearance.channel_gain,
        glass_rgb=appearance.glass_rgb,
    )
    assert rgb_HW3.dtype == np.uint8
    assert np.abs(rgb_HW3 - expected_HW3).max() <= 0.51


def test_empty_glass_is_nearly_white_and_a_little_uneven():
    empty_2HW = np.zeros((2, 301, 255), np.float32)
    rgb_HW3 = stain_to_rgb(
        empty_2HW, appearance=CENTRES["A"], strength=(1, 1), rng=np.random.default_rng(0)
    )
    assert rgb_HW3.shape == (301, 255, 3)
    assert rgb_HW3.min() > 220
    assert 0.5 < rgb_HW3.std(axis=(0, 1)).max() < 5


def test_centres_differ_in_colour(drawn):
    canvas_2HW, _, tissue_HW = drawn
    mean_3 = {
        name: stain_to_rgb(
            canvas_2HW, appearance=appearance, strength=(1, 1), rng=np.random.default_rng(0)
        )[tissue_HW].mean(axis=0)
        for name, appearance in CENTRES.items()
    }
    assert np.abs(mean_3["A"] - mean_3["B"]).max() > 8
