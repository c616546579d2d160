import numpy as np
import pytest

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.policy import apply_seeded
from medsimclr.errors import PolicyError


def _names(compose):
    return [type(transform).__name__ for transform in compose]


@pytest.mark.parametrize(("view_px", "kernel_px"), [(224, 23), (96, 9), (64, 7)])
def test_blur_kernel_follows_the_published_formula(view_px, kernel_px):
    options = {"blur_p": 1.0, "blur_sigma_px": (50.0, 50.0)}
    blur = load_policy("simclr", options=options).contrastive(view_px)[-1]
    line_HW3 = np.zeros((3, 99, 3), dtype=np.uint8)
    line_HW3[:, 49] = 255

    blurred_HW3 = blur(image=line_HW3)["image"]

    assert np.count_nonzero(blurred_HW3[1, :, 0]) == kernel_px


@pytest.mark.parametrize(("view_px", "options"), [(32, {}), (96, {"blur": False})])
def test_small_views_and_cifar_are_not_blurred(view_px, options):
    names = _names(load_policy("simclr", options=options).contrastive(view_px))

    assert names == ["Crop", "HorizontalFlip", "ColorJitterV2", "ToGray"]


def test_supervised_is_crop_and_flip():
    names = _names(load_policy("simclr").supervised(96))

    assert names == ["Crop", "HorizontalFlip"]


def test_strength_sets_the_ranges_of_the_colour_jitter():
    jitter = load_policy("simclr", options={"strength": 0.5}).contrastive(32)[2]
    drawn = [jitter.get_params() for _ in range(500)]

    for name in ("brightness", "contrast", "saturation"):
        factors = np.array([params[name] for params in drawn])
        assert 0.6 <= factors.min() < 0.65
        assert 1.35 < factors.max() <= 1.4
    hues = np.array([params["hue_turns"] for params in drawn])
    assert -0.1 <= hues.min() < -0.09
    assert 0.09 < hues.max() <= 0.1
    assert len({tuple(params["order"]) for params in drawn}) == 24


def test_a_factor_is_never_negative_at_full_strength():
    jitter = load_policy("simclr", options={"strength": 2.5}).contrastive(32)[2]

    assert min(jitter.get_params()["brightness"] for _ in range(200)) >= 0


def test_grey_views_have_three_equal_channels():
    tile_HW3 = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    compose = load_policy("simclr", options={"grey_p": 1.0}).contrastive(64)

    view_HW3 = apply_seeded(compose, tile_HW3, seed=(0, 0, 0, 0))

    assert np.all(view_HW3 == view_HW3[..., :1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -1}, "strength must be between 0 and 2.5, got -1"),
        ({"strength": "nan"}, "strength must be between 0 and 2.5, got nan"),
        ({"crop_area_min": 2}, "crop_area_min must be between 0 and 1, got 2"),
        ({"grey_p": 1.5}, "grey_p must be between 0 and 1, got 1.5"),
        ({"blur_sigma_px": (2, 1)}, r"blur_sigma_px must be two rising numbers above 0, got \(2"),
    ],
)
def test_a_field_out_of_range_is_refused_by_name(options, message):
    with pytest.raises(PolicyError, match=message):
        load_policy("simclr", options=options)
