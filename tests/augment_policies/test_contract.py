"""The contract of a policy, checked on every installed one: a policy that is found is tested."""

import dataclasses

import numpy as np
import pytest

from medsimclr.augment.discovery import installed_policies, load_policy
from medsimclr.augment.policy import apply_seeded

_METHODS = ("contrastive", "supervised")
pytestmark = pytest.mark.parametrize("name", installed_policies())


def _noise(height=64, width=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _views(compose, tile_HW3, seeds):
    return [apply_seeded(compose, tile_HW3, seed=seed) for seed in seeds]


_TILES = {
    "noise": _noise(),
    "white": np.full((64, 64, 3), 255, dtype=np.uint8),
    "black": np.zeros((64, 64, 3), dtype=np.uint8),
    "one colour": np.full((64, 64, 3), (170, 60, 140), dtype=np.uint8),
    "saturated": np.where(_noise() > 127, 255, 0).astype(np.uint8),
    "one pixel off square": _noise(64, 65),
    "long": _noise(16, 128),
    "smaller than the view": _noise(20, 20),
    "one pixel": _noise(1, 1),
}


@pytest.mark.parametrize("method", _METHODS)
@pytest.mark.parametrize("view_px", [32, 96])
@pytest.mark.parametrize("kind", _TILES)
def test_any_tile_gives_a_uint8_rgb_view_of_the_size_asked(name, method, view_px, kind):
    tile_HW3 = _TILES[kind].copy()
    compose = getattr(load_policy(name), method)(view_px)

    views = _views(compose, tile_HW3, [(0, 0, 0, view) for view in range(12)])

    for view_HW3 in views:
        assert view_HW3.shape == (view_px, view_px, 3)
        assert view_HW3.dtype == np.uint8
        assert not np.shares_memory(view_HW3, tile_HW3)
    np.testing.assert_array_equal(tile_HW3, _TILES[kind])


@pytest.mark.parametrize("method", _METHODS)
def test_a_view_depends_on_its_seed_alone(name, method):
    seeds = [(7, 1, tile, view) for tile in range(5) for view in range(2)]
    compose = getattr(load_policy(name), method)(32)

    forwards = _views(compose, _noise(), seeds)
    other_compose = getattr(load_policy(name), method)(32)
    backwards = _views(other_compose, _noise(), seeds[::-1])[::-1]

    np.testing.assert_array_equal(forwards, backwards)


@pytest.mark.parametrize("method", _METHODS)
def test_no_view_touches_the_global_generators(name, method):
    compose = getattr(load_policy(name), method)(32)
    np.random.seed(3)
    apply_seeded(compose, _noise(), seed=(0, 0, 0, 0))
    after_a_view = np.random.random()
    np.random.seed(3)

    assert np.random.random() == after_a_view


@pytest.mark.parametrize("method", _METHODS)
@pytest.mark.parametrize("position", range(4))
def test_seed_epoch_tile_and_view_each_change_the_view(name, method, position):
    compose = getattr(load_policy(name), method)(32)
    seeds = [tuple(i if place == position else 0 for place in range(4)) for i in range(8)]

    views = {view_HW3.tobytes() for view_HW3 in _views(compose, _noise(), seeds)}

    assert len(views) == len(seeds)


def test_supervised_views_keep_the_colours_of_the_tile(name):
    tile_HW3 = _TILES["one colour"]
    compose = load_policy(name).supervised(32)

    for view_HW3 in _views(compose, tile_HW3, [(0, 0, 0, view) for view in range(12)]):
        np.testing.assert_array_equal(view_HW3, np.broadcast_to(tile_HW3[0, 0], (32, 32, 3)))


def test_contrastive_views_vary_the_colour(name):
    compose = load_policy(name).contrastive(32)

    views = _views(compose, _TILES["one colour"], [(0, 0, 0, view) for view in range(20)])

    assert len({tuple(view_HW3[0, 0]) for view_HW3 in views}) > 10


def test_a_policy_is_frozen_and_keyword_only(name):
    policy_class = type(load_policy(name))

    assert policy_class.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(policy_class))
