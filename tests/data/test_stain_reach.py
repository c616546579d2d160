import functools
from dataclasses import dataclass, replace

import albumentations as A
import numpy as np
import pytest

from medsimclr.augment.discovery import load_policy
from medsimclr.data.stain_groups import stain_groups
from medsimclr.data.stain_reach import (
    StainReach,
    draw_reach,
    lost_note,
    mean_coverage,
    mean_outside,
)
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
    # 1 in 20 of 48 tiles and one to come are 2, that one among them.
    assert mean_outside(reaches) == pytest.approx(1 / 48)
    np.testing.assert_array_equal(reaches[0].views_NVV3[::4], groups[0].tiles_NVV3)


@pytest.mark.parametrize("seed", range(8))
def test_a_view_is_judged_by_other_tiles_than_its_own(groups, seed):
    amount_N3 = np.random.default_rng(seed).normal(0.3, 0.1, (40, 3))
    reaches = [
        StainReach(
            group=replace(groups[0], amount_N3=part_N3),
            views_NVV3=groups[0].tiles_NVV3,
            view_amount_N3=part_N3,
            view_tile_N=np.arange(20),
            n_lost=0,
            other_amount_N3=part_N3,
        )
        for part_N3 in np.split(amount_N3, 2)
    ]
    # 1 in 20 of 40 tiles and one to come are 2, that one among them.
    assert mean_outside(reaches) == pytest.approx(1 / 40)


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


@dataclass(frozen=True, kw_only=True)
class _Bleach:
    p: float

    def contrastive(self, view_px):
        white = A.CoarseDropout((1, 1), (view_px, view_px), (view_px, view_px), fill=255, p=self.p)
        return A.Compose([white])

    supervised = contrastive


def test_views_that_all_lost_their_tissue_cover_nothing_and_are_outside(groups):
    twins = [groups[0], replace(groups[0], name="twin")]
    reaches = draw_reach(twins, _Bleach(p=1.0), n_views=4, seed=0)
    before, after = mean_coverage(reaches)
    assert before > 0.9
    assert after == 0.0
    assert mean_outside(reaches) == 1.0
    assert lost_note(reaches).startswith("192 of 192 views have no tissue")


def test_views_that_lost_their_tissue_are_outside_and_told(groups):
    reaches = draw_reach(groups, _Bleach(p=0.5), n_views=4, seed=0)
    lost = sum(reach.n_lost for reach in reaches)
    assert 60 < lost < 130
    assert lost / 192 <= mean_outside(reaches) < lost / 192 + 0.06
    for reach in reaches:
        np.testing.assert_array_equal(
            reach.view_amount_N3, reach.group.amount_N3[reach.view_tile_N]
        )
    assert lost_note(reaches).startswith(f"{lost} of 192 views")
    assert lost_note(_reach(groups, "none")) is None
