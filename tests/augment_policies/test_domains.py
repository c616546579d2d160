"""What each of the policies beside simclr and the stains promises of its domain."""

import numpy as np
import pytest

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.policy import apply_seeded
from medsimclr.errors import PolicyError

_SEEDS = [(0, 0, tile, view) for tile in range(20) for view in range(2)]


def _views(name, tile_HW3, *, method="contrastive", view_px=64, **options):
    compose = getattr(load_policy(name, options=options), method)(view_px)
    return np.stack([apply_seeded(compose, tile_HW3, seed=seed) for seed in _SEEDS])


def _cells():
    """Return a tile of bright discs on black."""
    y_HW, x_HW = np.mgrid[:96, :96]
    disc_HW = (y_HW % 32 - 16) ** 2 + (x_HW % 32 - 16) ** 2 < 60
    return (disc_HW[..., None] * np.array([120, 90, 200])).astype(np.uint8)


@pytest.mark.parametrize("name", ["fluorescence", "fundus"])
def test_black_stays_black(name):
    black_HW3 = np.zeros((96, 96, 3), np.uint8)

    assert _views(name, black_HW3).max() == 0


def test_fluorescence_changes_channels_by_themselves_and_not_the_background():
    views_NHW3 = _views("fluorescence", _cells(), crop_area_min=1, symmetry_p=0, view_px=96)

    is_cell_HW = _cells()[..., 2] > 0
    assert views_NHW3[:, ~is_cell_HW].max() == 0
    means_NC = views_NHW3[:, is_cell_HW].mean(axis=1)
    ratio_N = means_NC[:, 0] / means_NC[:, 2]
    assert ratio_N.max() > 2 * ratio_N.min()


def test_fluorescence_does_not_burn_out_cells_of_half_the_range():
    views_NHW3 = _views("fluorescence", _cells(), crop_area_min=1, symmetry_p=0, view_px=96)

    assert np.mean(views_NHW3[..., :2] == 255) < 1e-4


def test_xray_keeps_grey_grey_and_changes_exposure():
    grey_HW3 = np.random.default_rng(0).integers(60, 180, (96, 96, 1), np.uint8).repeat(3, axis=2)

    views_NHW3 = _views("xray", grey_HW3)

    assert np.all(views_NHW3 == views_NHW3[..., :1])
    means_N = views_NHW3.mean(axis=(1, 2, 3))
    assert np.ptp(means_N) > 30


def test_xray_turns_by_ten_degrees_at_most_and_never_upside_down():
    ramp_HW3 = np.tile(np.arange(96, dtype=np.uint8)[:, None, None] * 2, (1, 96, 3))

    views_NHW3 = _views("xray", ramp_HW3, method="supervised", crop_area_min=1).astype(int)

    rise_down_N = views_NHW3[:, 40, 32, 0] - views_NHW3[:, 24, 32, 0]
    rise_right_N = views_NHW3[:, 32, 40, 0] - views_NHW3[:, 32, 24, 0]
    angle_N = np.degrees(np.arctan2(rise_right_N, rise_down_N))
    assert 7 < np.abs(angle_N).max() < 12


def test_fundus_jitters_colour_without_losing_it():
    retina_HW3 = np.full((64, 64, 3), (180, 80, 40), np.uint8)

    views_N3 = _views("fundus", retina_HW3, blur_p=0)[:, 0, 0].astype(int)

    assert len({tuple(view_3) for view_3 in views_N3}) > 20
    assert np.all(views_N3.max(axis=1) - views_N3.min(axis=1) > 20)


@pytest.mark.parametrize("method", ["contrastive", "supervised"])
def test_geometry_keeps_the_colour_of_every_tile(method):
    pink_HW3 = np.full((96, 96, 3), (170, 60, 140), np.uint8)

    views_NHW3 = _views("geometry", pink_HW3, method=method)

    assert np.all(views_NHW3 == pink_HW3[0, 0])


def test_geometry_draws_all_eight_symmetries():
    tile_HW3 = np.arange(64 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(64, 64, 3)

    views_NHW3 = _views("geometry", tile_HW3, crop_area_min=1)

    assert len({view_HW3.tobytes() for view_HW3 in views_NHW3}) == 8


def test_none_gives_two_equal_views_of_the_whole_tile():
    tile_HW3 = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    assert np.all(_views("none", tile_HW3) == tile_HW3)
    assert len({view.tobytes() for view in _views("none", tile_HW3, view_px=32)}) == 1


@pytest.mark.parametrize("name", ["fluorescence", "fundus", "geometry", "xray"])
def test_supervised_views_keep_colours(name):
    pink_HW3 = np.full((96, 96, 3), (170, 60, 140), np.uint8)

    assert np.all(_views(name, pink_HW3, method="supervised") == pink_HW3[0, 0])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fluorescence", {"gain": -1}, "gain must be between 0 and 3, got -1"),
        ("fluorescence", {"offset": "nan"}, "offset must be between 0 and 1, got nan"),
        ("fundus", {"hue": 0.6}, "hue must be between 0 and 0.5, got 0.6"),
        ("geometry", {"crop_area_min": 2}, "crop_area_min must be between 0 and 1, got 2"),
        ("xray", {"turn_degrees": 200}, "turn_degrees must be between 0 and 180, got 200"),
    ],
)
def test_a_field_out_of_range_is_refused_by_name(name, options, message):
    with pytest.raises(PolicyError, match=message):
        load_policy(name, options=options)
