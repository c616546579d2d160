"""The contract of a policy, checked on every installed one: a policy that is found is tested."""

import dataclasses
import json

import numpy as np
import pytest

from medsimclr.augment.contract import check_policy
from medsimclr.augment.discovery import installed_policies, load_policy
from medsimclr.augment.policy import apply_seeded, policy_record
from medsimclr.augment.recorded import load_recorded_policy

pytestmark = pytest.mark.parametrize("name", installed_policies())


@pytest.mark.parametrize("view_px", [32, 96])
def test_the_policy_keeps_to_the_contract(name, view_px):
    assert check_policy(load_policy(name), view_px=view_px) == []


def test_the_policy_is_frozen_and_keyword_only(name):
    policy_class = type(load_policy(name))

    assert policy_class.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(policy_class))


def test_the_policy_comes_back_from_its_record(name):
    policy = load_policy(name)

    record = json.loads(json.dumps(policy_record(policy)))

    assert load_recorded_policy(name, record, options={}) == policy


def test_our_policies_have_a_strength_that_moves_their_views(name):
    policy = load_policy(name)
    tile_HW3 = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    seeds = [(0, 0, 0, view) for view in range(8)]

    n_changed = {}
    for strength in (0.0, 1.0):
        compose = policy.scaled(strength).contrastive(48)
        views = [apply_seeded(compose, tile_HW3, seed=seed) for seed in seeds]
        n_changed[strength] = sum(not np.array_equal(view, tile_HW3) for view in views)

    assert n_changed == {0.0: 0, 1.0: 0 if name == "none" else 8}
