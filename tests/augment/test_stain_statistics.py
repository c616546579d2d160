import numpy as np
import pytest

from medsimclr.augment.stain_statistics import SpaceStatistics, fit_templates, tissue_moments


def _tiles(color, *, seed=0, n_tiles=2):
    noise = np.random.default_rng(seed).normal(0.0, 8.0, (n_tiles, 32, 32, 3))
    return np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)


def test_moments_are_those_of_tissue_alone():
    tile_HW3 = _tiles((150, 70, 140))[0]
    glass_HW3 = np.full((96, 32, 3), 240, np.uint8)

    mean_3, std_3 = tissue_moments(np.concatenate([glass_HW3, tile_HW3]), "lab")

    alone_mean_3, alone_std_3 = tissue_moments(tile_HW3, "lab")
    np.testing.assert_allclose(mean_3, alone_mean_3)
    np.testing.assert_allclose(std_3, alone_std_3)


def test_a_tile_without_tissue_has_no_moments():
    assert tissue_moments(np.full((8, 8, 3), 255, np.uint8), "hed") is None


def test_templates_are_means_and_spreads_over_slides_each_counted_once():
    colors = [(150, 70, 140), (180, 90, 160), (120, 60, 150)]
    slides = [
        (str(index), _tiles(color, seed=index, n_tiles=1 + 4 * index))
        for index, color in enumerate(colors)
    ]

    fitted = fit_templates([*slides, ("blank", np.full((2, 32, 32, 3), 255, np.uint8))])

    moments_S23 = np.array([tissue_moments(np.concatenate(list(t)), "hsv") for _, t in slides])
    np.testing.assert_allclose(fitted.hsv.mean_center, moments_S23[:, 0].mean(axis=0))
    np.testing.assert_allclose(fitted.hsv.mean_spread, moments_S23[:, 0].std(axis=0))
    np.testing.assert_allclose(fitted.hsv.std_center, moments_S23[:, 1].mean(axis=0))
    np.testing.assert_allclose(fitted.hsv.std_spread, moments_S23[:, 1].std(axis=0))


def test_slides_without_tissue_cannot_be_fitted():
    with pytest.raises(ValueError, match="at least one slide with tissue, got none"):
        fit_templates([("blank", np.full((2, 32, 32, 3), 255, np.uint8))])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean_spread": (-1.0, 0.0, 0.0)}, "must not be negative"),
        ({"std_center": (0.0, 1.0, 1.0)}, "must not be negative"),
        ({"mean_center": (float("inf"), 0.0, 0.0)}, "must be finite"),
    ],
)
def test_impossible_statistics_are_refused(change, message):
    good = {
        "mean_center": (60.0, 20.0, -10.0),
        "mean_spread": (1.0, 1.0, 1.0),
        "std_center": (1.0, 1.0, 1.0),
        "std_spread": (1.0, 1.0, 1.0),
    }

    with pytest.raises(ValueError, match=message):
        SpaceStatistics(**{**good, **change})
