import numpy as np
import pytest

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.geometric import without_geometry
from medsimclr.augment.policy import apply_seeded
from medsimclr.report.contact_sheet import contact_sheet, strength_sheet

_TILES_NHW3 = np.random.default_rng(0).integers(0, 256, (2, 50, 40, 3), dtype=np.uint8)


def _find(sheet_HW3, patch_HW3):
    """Count the places of a sheet that hold a patch exactly."""
    height, width = patch_HW3.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(sheet_HW3[..., 0], (height, width))
    return int((windows[:, :] == patch_HW3[..., 0]).all(axis=(2, 3)).sum())


def test_every_view_is_on_the_sheet_once_unscaled():
    policy = load_policy("simclr")

    sheet_HW3 = contact_sheet(_TILES_NHW3, policy, view_px=32, n_views=2, seed=5)

    assert sheet_HW3.dtype == np.uint8
    for group, compose in enumerate((policy.contrastive(32), policy.supervised(32))):
        for tile in range(2):
            for view in range(2):
                seed = (5, group, tile, view)
                view_HW3 = apply_seeded(compose, _TILES_NHW3[tile], seed=seed)
                assert _find(sheet_HW3, view_HW3) == 1, seed


@pytest.mark.parametrize("n_views", [1, 3])
def test_the_same_seed_draws_the_same_sheet_and_another_another(n_views):
    policy = load_policy("stain_jitter")
    first, again, other = (
        contact_sheet(_TILES_NHW3, policy, view_px=32, n_views=n_views, seed=seed)
        for seed in (0, 0, 1)
    )

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_strength_is_swept_with_the_same_draws():
    policy = load_policy("simclr", options={"grey_p": 0.0, "jitter_p": 1.0})
    swept = {strength: policy.scaled(strength) for strength in (0.0, 1.0, 2.0)}
    tiles_NHW3 = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)

    sheet_HW3 = strength_sheet(tiles_NHW3, swept, view_px=32, n_views=2, seed=5)

    # Beside the tile itself, both of its views at strength 0 are the tile.
    assert [_find(sheet_HW3, tile_HW3) for tile_HW3 in tiles_NHW3] == [3, 3]
    for strength in (1.0, 2.0):
        compose = without_geometry(swept[strength].contrastive(32))
        for tile in range(2):
            for view in range(2):
                view_HW3 = apply_seeded(compose, tiles_NHW3[tile], seed=(5, 0, tile, view))
                assert _find(sheet_HW3, view_HW3) == 1, (strength, tile, view)


def test_a_sweep_of_geometry_alone_shows_the_geometry():
    policy = load_policy("geometry")
    tiles_NHW3 = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)

    sheet_HW3 = strength_sheet(tiles_NHW3, {1.0: policy}, view_px=32, n_views=1, seed=5)

    view_HW3 = apply_seeded(policy.contrastive(32), tiles_NHW3[0], seed=(5, 0, 0, 0))
    assert _find(sheet_HW3, view_HW3) == 1
