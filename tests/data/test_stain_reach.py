import functools

import numpy as np
import pytest

from medsimclr.augment.discovery import load_policy
from medsimclr.data.stain_groups import stain_groups
from medsimclr.data.stain_reach import draw_reach, mean_coverage, mean_outside
from medsimclr.store.reader import TileStore
from tests.tiny_store import write_tiny_store
from tests.tissue_images import shifted_images


def _images_of(number, side_px, seed):
    """Stain every other patient, those of centre B, as another laboratory would."""
    gain = (1.5, 0.6) if seed % 2 else (1.0, 1.0)
    return shifted_images(number, side_px, seed, gain=gain)


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    path = tmp_path_factory.mktemp("reach") / "tiny.zarr"
    store = TileStore(
        write_tiny_store(path, n_patients=4, images_of=_images_of, centres=["A", "B"])
    )
    return stain_groups(store, slide_indices=range(4), view_px=36, n_tiles=24, seed=0).groups


def _reach(groups, policy, *, seed=0, **options):
    return draw_reach(groups, load_policy(policy, options=options), n_views=4, seed=seed)


@pytest.mark.parametrize("policy", ["none", "geometry"])
def test_a_policy_that_changes_no_colour_covers_what_the_tiles_cover(groups, policy):
    reaches = _reach(groups, policy)
    before, after = mean_coverage(reaches)
    assert before == after < 0.2
    assert mean_outside(reaches) < 0.06
    np.testing.assert_array_equal(reaches[0].views_NVV3[::4], groups[0].tiles_NVV3)


def test_coverage_rises_with_the_strength(groups):
    jitter = functools.partial(_reach, groups, "stain_jitter", stain_p=1.0)
    shares = [
        mean_coverage(jitter(gain_sigma=gain, offset_sigma=gain / 2))[1] for gain in (0.0, 0.2, 0.5)
    ]
    assert shares[0] < 0.2
    assert shares[1] > shares[0] + 0.2
    assert shares[2] > max(0.9, shares[1])


def test_views_beyond_every_stain_are_counted(groups):
    jitter = functools.partial(_reach, groups, "stain_jitter", blur_p=0.0)
    shares = [
        mean_outside(jitter(gain_sigma=strength, offset_sigma=strength))
        for strength in (0.0, 0.2, 0.9)
    ]
    assert shares[0] < 0.06
    assert shares[0] + 0.2 < shares[1] < shares[2]


def test_the_same_seed_draws_the_same_views_and_another_others(groups):
    first, again, other = (
        np.concatenate([reach.views_NVV3 for reach in _reach(groups, "stain_jitter", seed=seed)])
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_other_groups_are_all_but_this_one(groups):
    first, second = _reach(groups, "none")
    np.testing.assert_array_equal(first.other_amount_N3, second.group.amount_N3)
    np.testing.assert_array_equal(second.other_amount_N3, first.group.amount_N3)


def test_views_that_lost_all_stain_cover_what_the_tiles_do(groups):
    reach = _reach(groups, "none")[0]
    lost = type(reach)(
        reach.group, reach.views_NVV3[:0], reach.view_amount_N3[:0], reach.other_amount_N3
    )
    assert lost.covered_after == lost.covered_before
