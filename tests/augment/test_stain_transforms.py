import albumentations as A
import numpy as np
import pytest

from medsimclr.augment.common_slides import COMMON_SLIDES, COMMON_TEMPLATES
from medsimclr.augment.macenko import tissue_density
from medsimclr.augment.policy import apply_seeded
from medsimclr.augment.slide_stains import SlideStains
from medsimclr.augment.stain import HED_TO_OD
from medsimclr.augment.stain_statistics import tissue_moments
from medsimclr.augment.stain_transforms import Focus, StainExchange, StainSetJitter, StainTemplate
from tests.references.stain import change_density_loops, jitter_stain_loops

_ALL = {
    "jitter": StainSetJitter(
        stains_to_od=HED_TO_OD, gain_sigma=(0.2,) * 3, offset_sigma=(0.1,) * 3, p=1.0
    ),
    "exchange": StainExchange(slides=COMMON_SLIDES, share_max=1.0, p=1.0),
    "template": StainTemplate(statistics=COMMON_TEMPLATES, spaces=("lab", "hed", "hsv"), p=1.0),
    "focus": Focus(blur_sigma_px=1.0, sharpen=0.5, p=1.0),
}


def _tissue(height=24, width=24, seed=0):
    """Purple and pink spots."""
    levels = np.random.default_rng(seed).integers(
        (110, 50, 100), (230, 170, 220), (height, width, 3)
    )
    return levels.astype(np.uint8)


@pytest.mark.parametrize("name", _ALL)
@pytest.mark.parametrize(
    "tile_HW3",
    [
        np.full((16, 16, 3), 255, np.uint8),
        np.zeros((16, 16, 3), np.uint8),
        np.full((16, 16, 3), (170, 60, 140), np.uint8),
        np.full((1, 1, 3), (170, 60, 140), np.uint8),
        np.full((1, 1, 3), 255, np.uint8),
        _tissue(1, 9),
    ],
    ids=["white", "black", "one colour", "one pixel", "one white pixel", "one row"],
)
def test_odd_tiles_never_raise_and_white_stays_white(name, tile_HW3):
    compose = A.Compose([_ALL[name]])

    for view in range(30):
        view_HW3 = apply_seeded(compose, tile_HW3, seed=(0, 0, 0, view))
        assert view_HW3.shape == tile_HW3.shape
        if tile_HW3.min() == 255:
            np.testing.assert_array_equal(view_HW3, tile_HW3)


def test_a_jitter_of_given_stains_equals_float64_loops():
    tile_HW3 = _tissue()
    gain_3, offset_3 = np.array([1.2, 0.9, 1.1]), np.array([0.1, -0.1, 0.05])

    jittered_HW3 = _ALL["jitter"].apply(tile_HW3, gain_3=gain_3, offset_3=offset_3)

    expected_HW3 = jitter_stain_loops(tile_HW3, gain_3, offset_3)
    assert np.abs(jittered_HW3 - expected_HW3).max() <= 0.6


@pytest.mark.parametrize("share", [0.3, 1.0, 2.0])
def test_an_exchange_equals_float64_loops_within_one_grey_level(share):
    tile_HW3 = _tissue()
    slides = (COMMON_SLIDES[4], COMMON_SLIDES[9])
    guess = SlideStains(slides).likeliest(tissue_density(tile_HW3.reshape(-1, 3)))
    source, target = slides[guess], slides[1 - guess]

    exchange = StainExchange(slides=slides, share_max=2.0)
    changed_HW3 = exchange.apply(tile_HW3, target=1 - guess, share=share)

    basis = [
        np.stack([s.haematoxylin, s.eosin, np.cross(s.haematoxylin, s.eosin)])
        for s in (source, target)
    ]
    for rows in basis:
        rows[2] /= np.linalg.norm(rows[2])
    gain = np.clip([t / s for s, t in zip(source.maxima, target.maxima, strict=True)], 0.5, 2.0)
    whole = np.linalg.inv(basis[0]) @ np.diag([*gain, 1.0]) @ basis[1]
    matrix = (1.0 - share) * np.eye(3) + share * whole
    expected_HW3 = change_density_loops(tile_HW3, matrix, (0.0, 0.0, 0.0))
    assert np.abs(changed_HW3 - expected_HW3).max() <= 0.6


@pytest.mark.parametrize("space", ["lab", "hed", "hsv"])
def test_a_template_is_reached(space):
    tile_HW3 = _tissue(64, 64)
    over_slides = getattr(COMMON_TEMPLATES, space)
    mean_3, std_3 = tissue_moments(tile_HW3, space)
    # A template near the tile, which no limit keeps it from.
    normal_23 = np.array(
        [
            (mean_3 * 1.05 - over_slides.mean_center) / over_slides.mean_spread,
            (std_3 * 0.9 - over_slides.std_center) / over_slides.std_spread,
        ]
    )

    changed_HW3 = _ALL["template"].apply(tile_HW3, space=space, normal_23=normal_23)

    found_mean_3, found_std_3 = tissue_moments(changed_HW3, space)
    np.testing.assert_allclose(found_mean_3, mean_3 * 1.05, rtol=0.03, atol=0.01)
    np.testing.assert_allclose(found_std_3, std_3 * 0.9, rtol=0.06)


@pytest.mark.parametrize(
    "transform",
    [
        StainSetJitter(stains_to_od=HED_TO_OD, gain_sigma=(0,) * 3, offset_sigma=(0,) * 3, p=1.0),
        StainExchange(slides=COMMON_SLIDES, share_max=0.0, p=1.0),
        StainTemplate(statistics=COMMON_TEMPLATES, spaces=("lab",), strength=0.0, p=1.0),
        Focus(blur_sigma_px=0.0, sharpen=0.0, p=1.0),
    ],
    ids=["jitter", "exchange", "template", "focus"],
)
def test_zero_strength_returns_the_input_bit_for_bit(transform):
    tile_HW3 = _tissue()
    # Black has no logarithm: an operation that only comes out at the same colour changes it.
    tile_HW3[0] = 0
    compose = A.Compose([transform])

    for view in range(10):
        view_HW3 = apply_seeded(compose, tile_HW3, seed=(0, 0, 0, view))
        np.testing.assert_array_equal(view_HW3, tile_HW3)


def test_focus_blurs_and_sharpens():
    tile_HW3 = _tissue(64, 64)
    focus = Focus(blur_sigma_px=1.0, sharpen=0.5)

    def contrast(value):
        return np.diff(focus.apply(tile_HW3, focus=value).astype(float), axis=1).std()

    assert contrast(-1.0) < 0.6 * contrast(0.0)
    assert contrast(-0.1) == contrast(0.0)
    assert contrast(1.0) > 1.2 * contrast(0.0)
