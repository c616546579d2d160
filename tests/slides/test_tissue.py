import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsimclr.slides.areas import TISSUE, find_areas
from medsimclr.slides.opening import open_slide
from medsimclr.slides.tissue import has_dark_ground, stain_mask, tissue_fraction
from tests.references.stained import stained_loops
from tests.references.tissue_fraction import tissue_fraction_loops
from tests.slides.whole_slide import thumbnail_of

# Ruifrok & Johnston 2001: optical density per unit of stain.
HAEMATOXYLIN, EOSIN, DAB = [0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]
FADED = [0.58, 0.58, 0.58]


def _tissue(thumbnail_HW3):
    return find_areas(thumbnail_HW3) == TISSUE


def _stained(stain, amount, *, glass=(242, 242, 242), seed=0):
    """A 300 x 400 slide of noisy glass with stain in rows 60 to 240, columns 80 to 320."""
    amount_HW = np.zeros((300, 400))
    amount_HW[60:240, 80:320] = amount
    light_HW3 = np.array(glass) * 10 ** -(amount_HW[:, :, None] * np.array(stain))
    noise_HW3 = np.random.default_rng(seed).normal(0, 2, light_HW3.shape)
    return np.clip(light_HW3 + noise_HW3, 0, 255).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("stain", "amount"),
    [
        (HAEMATOXYLIN, 0.5),
        (HAEMATOXYLIN, 0.12),
        (EOSIN, 0.1),
        (DAB, 0.3),
        (DAB, 0.08),
        (DAB, 0.6),
        (FADED, 0.16),
    ],
)
def test_tissue_finds_stained_tissue_to_the_pixel(stain, amount):
    mask_HW = _tissue(_stained(stain, amount))
    assert mask_HW[61:239, 81:319].all()
    mask_HW[59:241, 79:321] = False
    assert not mask_HW.any()


def test_dense_brown_is_stained():
    # Flat as no tissue is, it would count as the ink of a red pen.
    mask_HW = stain_mask(_stained(DAB, 1.2), glass_3=np.full(3, 242, np.float32))
    assert mask_HW[61:239, 81:319].all()


def test_stain_mask_equals_loop_reference():
    # Blocks of three pixels: the median leaves their middles alone.
    block_HW3 = np.random.default_rng(0).integers(0, 256, (70, 25, 3)).astype(np.uint8)
    pale_HW3 = np.random.default_rng(1).integers(205, 245, (70, 25, 3)).astype(np.uint8)
    colour_HW3 = np.concatenate([block_HW3, pale_HW3], axis=1)
    picture_HW3 = np.repeat(np.repeat(colour_HW3, 3, axis=0), 3, axis=1)
    glass = (242.0, 240.0, 236.0)
    mask_HW = stain_mask(picture_HW3, glass_3=np.array(glass, np.float32))
    expected_HW = np.array(stained_loops(colour_HW3, glass))
    assert (mask_HW[1::3, 1::3] == expected_HW).mean() > 0.995  # densities are in thousandths
    assert 0.5 < expected_HW.mean() < 0.9


@pytest.mark.parametrize(("level", "is_dark"), [(10, True), (100, False), (240, False)])
def test_dark_ground_is_told_from_glass(level, is_dark):
    slide_HW3 = np.full((100, 100, 3), level, np.uint8)
    slide_HW3[40:60, 40:60] = (0, 0, 200)
    assert has_dark_ground(slide_HW3) == is_dark


def test_tissue_on_yellow_glass_finds_the_tissue_alone():
    mask_HW = _tissue(_stained(EOSIN, 0.3, glass=(248, 240, 214)))
    assert mask_HW.mean() == pytest.approx(180 * 240 / (300 * 400), abs=0.01)


def test_tissue_with_black_scanner_padding_finds_the_tissue_alone():
    slide_HW3 = np.zeros((300, 1600, 3), np.uint8)
    slide_HW3[:, :400] = _stained(EOSIN, 0.3)
    mask_HW = _tissue(slide_HW3)
    assert mask_HW[:, :400].mean() == pytest.approx(180 * 240 / (300 * 400), abs=0.01)
    assert not mask_HW[:, 402:].any()


def test_tissue_joins_nuclei_on_a_dark_ground():
    generator = np.random.default_rng(0)
    slide_HW3 = generator.integers(0, 5, (300, 400, 3)).astype(np.uint8)
    for y in range(60, 240, 22):
        for x in range(80, 320, 22):
            slide_HW3[y : y + 6, x : x + 6, 2] = 120
    mask_HW = _tissue(slide_HW3)
    assert mask_HW[62:238, 82:304].all()
    mask_HW[50:250, 70:330] = False
    assert not mask_HW.any()


@pytest.mark.parametrize("level", [0, 5, 20, 128, 200, 243, 255])
@pytest.mark.parametrize("noise", [0, 3])
def test_tissue_of_a_blank_slide_is_empty(level, noise):
    deviation = np.random.default_rng(0).normal(0, noise, (200, 300, 3))
    blank_HW3 = np.clip(level + deviation, 0, 255).round().astype(np.uint8)
    assert not _tissue(blank_HW3).any()


def test_tissue_passes_over_a_faint_shadow_and_a_speck():
    slide_HW3 = np.full((200, 300, 3), 242, np.uint8)
    slide_HW3[:, 150:] = 222
    slide_HW3[50:53, 50:53] = (200, 40, 120)
    assert not _tissue(slide_HW3).any()


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 40), (3, 2)])
def test_tissue_takes_the_smallest_thumbnails(size_hw):
    assert _tissue(np.full((*size_hw, 3), 240, np.uint8)).shape == size_hw


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("bone_marrow_jpeg.dcm", 0.74, 0.86),
        ("camelyon_overview_jpeg2000.dcm", 0.29, 0.38),
        ("cmu_small_region.svs", 0.32, 0.40),
        ("flat_he.jpeg", 0.72, 0.86),
        ("flat_ink.jpeg", 0.27, 0.34),
        ("fluorescence_dapi.ndpi", 0.60, 0.80),
        ("tcga-cr-7395-01a-01-ts1.svs", 0.59, 0.66),
    ],
)
def test_tissue_of_real_slides_covers_what_the_eye_sees(shared_data, name, low, high):
    with open_slide(shared_data / "slides" / name) as slide:
        mask_HW = _tissue(thumbnail_of(slide, max_px=1024))
    assert low < mask_HW.mean() < high


@pytest.mark.parametrize(
    ("name", "tissue_rc", "glass_rc"),
    [
        ("cmu_small_region.svs", (700, 300), (700, 50)),
        ("fluorescence_dapi.ndpi", (800, 400), (1000, 300)),
        ("tcga-cr-7395-01a-01-ts1.svs", (450, 600), (60, 300)),
    ],
)
def test_tissue_of_real_slides_is_in_its_place(shared_data, name, tissue_rc, glass_rc):
    with open_slide(shared_data / "slides" / name) as slide:
        mask_HW = _tissue(thumbnail_of(slide, max_px=1024))

    def share_around(rc):
        return mask_HW[rc[0] - 15 : rc[0] + 15, rc[1] - 15 : rc[1] + 15].mean()

    assert share_around(tissue_rc) > 0.9
    assert share_around(glass_rc) < 0.02


def test_tissue_of_the_nearly_blank_slide_is_empty(shared_data):
    with open_slide(shared_data / "broken" / "sm_image.dcm") as slide:
        assert not _tissue(thumbnail_of(slide, max_px=512)).any()


_edges = st.lists(st.floats(-4, 16), min_size=2, max_size=2, unique=True).map(sorted)


@settings(deadline=None)
@given(
    seed=st.integers(0, 99),
    boxes=st.lists(st.tuples(_edges, _edges), min_size=1, max_size=5),
)
def test_tissue_fraction_equals_loop_reference(seed, boxes):
    mask_HW = np.random.default_rng(seed).random((9, 12)) < 0.5
    boxes_xyxy = [
        [x[0], y[0], x[1], y[1]] for x, y in boxes if min(x[1] - x[0], y[1] - y[0]) > 1e-3
    ]
    fractions = tissue_fraction(mask_HW, np.array(boxes_xyxy).reshape(-1, 4))
    assert fractions.dtype == np.float32
    assert fractions.tolist() == pytest.approx(tissue_fraction_loops(mask_HW, boxes_xyxy), abs=1e-5)


def test_tissue_fraction_counts_what_lies_beyond_the_border_as_empty():
    mask_HW = np.ones((10, 20), np.bool_)
    boxes_xyxy = np.array([[0, 0, 20, 10], [-5, 0, 5, 10], [15, 5, 25, 15], [30, 0, 40, 10]])
    assert tissue_fraction(mask_HW, boxes_xyxy).tolist() == [1.0, 0.5, 0.25, 0.0]


def test_tissue_fraction_refuses_an_empty_box():
    with pytest.raises(AssertionError, match="positive areas"):
        tissue_fraction(np.ones((4, 4), np.bool_), np.array([[1, 1, 1, 3]]))
