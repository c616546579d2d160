import numpy as np
import pytest

from medsimclr.augment.color import jitter_color
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


@pytest.fixture(scope="module")
def golden(shared_data):
    with np.load(shared_data.parent / "golden" / "simclr_augment.npz") as file:
        return dict(file)


def _differences(image_HW3, golden_HW3):
    """Return largest and mean difference to the reference, grey levels."""
    difference_HW3 = np.abs(image_HW3 - 255.0 * golden_HW3.clip(0.0, 1.0))
    return difference_HW3.max(), difference_HW3.mean()


def _levels(golden):
    return np.round(255.0 * golden["image"]).astype(np.uint8)


@pytest.mark.parametrize("operation", ["brightness", "contrast", "saturation", "hue"])
def test_colour_operations_equal_the_reference(golden, operation):
    names = [name for name in golden if name.startswith(f"{operation}_")]
    argument = "hue_turns" if operation == "hue" else operation

    for name in names:
        amount = float(name.partition("_")[2])
        ours_HW3 = jitter_color(_levels(golden), order=[operation], **{argument: amount})
        largest, mean = _differences(ours_HW3, golden[name])
        assert largest < 2.0, name
        assert mean < 0.45, name
    assert len(names) == 3


def test_grey_equals_the_reference(golden):
    grey_HW3 = load_policy("simclr", options={"grey_p": 1.0}).contrastive(64)[3](
        image=_levels(golden)
    )["image"]

    largest, _ = _differences(grey_HW3, golden["gray"])
    assert largest < 1.0


@pytest.mark.parametrize(("kernel", "sigma_px"), [(6, 0.3), (6, 1.0), (6, 2.0), (22, 1.5)], ids=str)
def test_blur_equals_the_reference_to_its_black_border(golden, kernel, sigma_px):
    options = {"blur_p": 1.0, "blur_sigma_px": (sigma_px, sigma_px)}
    # The source's kernel argument is view_px // 10.
    blur = load_policy("simclr", options=options).contrastive(kernel * 10)[-1]

    largest, _ = _differences(
        blur(image=_levels(golden))["image"], golden[f"blur_{kernel}_{sigma_px}"]
    )
    assert largest < 1.0


@pytest.mark.parametrize("box", [(5, 9, 40, 30), (0, 0, 64, 64), (20, 3, 17, 50)], ids=str)
def test_resized_crops_differ_from_the_reference_by_the_cubic_kernel_alone(golden, box):
    crop = load_policy("simclr").contrastive(32)[0]
    name = "resize_" + "_".join(map(str, box))

    largest, mean = _differences(crop.apply(_levels(golden), box=box), golden[name])

    assert largest < 3.0
    assert mean < 0.7
