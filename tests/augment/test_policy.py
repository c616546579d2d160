import dataclasses
import importlib.metadata
import json

import albumentations as A
import numpy as np
import pytest

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.policy import apply_seeded, policy_record
from medsimclr.errors import PolicyError

_TILE_HW3 = np.zeros((8, 8, 3), dtype=np.uint8)


class _RecordDraws(A.ImageOnlyTransform):
    """Change nothing; remember one draw from each of the two generators."""

    def __init__(self):
        super().__init__(p=1.0)
        self.draws = []

    def apply(self, img, **_params):
        self.draws.append((self.py_random.random(), float(self.random_generator.random())))
        return img


class _DoubleChannels(A.ImageOnlyTransform):
    def apply(self, img, **_params):
        return np.concatenate([img, img], axis=2)


def _nested():
    """Return a compose with recorders at every kind of nesting, and the recorders."""
    recorders = [_RecordDraws() for _ in range(6)]
    compose = A.Compose(
        [
            recorders[0],
            recorders[1],
            A.OneOf([recorders[2]], p=1.0),
            A.SomeOf([recorders[3]], n=1, p=1.0),
            A.Sequential([recorders[4]], p=1.0),
            A.OneOf([A.Sequential([recorders[5]], p=1.0)], p=1.0),
        ]
    )
    return compose, recorders


def test_transforms_of_one_view_draw_independently_at_every_nesting():
    compose, recorders = _nested()

    apply_seeded(compose, _TILE_HW3, seed=(1, 2, 3, 4))

    python_draws = {recorder.draws[0][0] for recorder in recorders}
    numpy_draws = {recorder.draws[0][1] for recorder in recorders}
    assert len(python_draws) == len(numpy_draws) == len(recorders)


def test_set_random_seed_would_correlate_them_which_is_why_it_is_not_used():
    compose, recorders = _nested()

    compose.set_random_seed(7)
    compose(image=_TILE_HW3)

    assert recorders[0].draws == recorders[1].draws


def test_two_coins_of_a_policy_fall_independently():
    policy = load_policy("simclr", options={"jitter_p": 0.0, "blur_p": 0.0, "grey_p": 0.5})
    compose = policy.contrastive(32)
    ramp_HW3 = np.zeros((32, 32, 3), dtype=np.uint8)
    ramp_HW3[..., 0] = np.arange(32) * 8

    coins = np.empty((400, 2), dtype=bool)
    for tile in range(400):
        view_HW3 = apply_seeded(compose, ramp_HW3, seed=(0, 0, tile, 0)).astype(int)
        is_flipped = view_HW3[16, 0, 0] > view_HW3[16, -1, 0]
        coins[tile] = is_flipped, view_HW3[..., 1].any()

    # 0.2 is four standard errors of a correlation of 400 independent pairs.
    assert abs(np.corrcoef(coins.T)[0, 1]) < 0.2
    assert np.all(np.abs(coins.mean(axis=0) - 0.5) < 0.1)


def test_the_view_is_a_function_of_the_seed_alone():
    compose, recorders = _nested()

    for seed in [
        (1, 2, 3, 4),
        (1, 2, 3, 5),
        (1, 2, 4, 4),
        (1, 3, 3, 4),
        (2, 2, 3, 4),
        (1, 2, 3, 4),
    ]:
        apply_seeded(compose, _TILE_HW3, seed=seed)

    draws = recorders[0].draws
    assert draws[0] == draws[-1]
    assert len(set(draws)) == 5


def test_the_draws_are_frozen():
    # A change of these numbers means that resumed runs see other views than before.
    compose, recorders = _nested()

    apply_seeded(compose, _TILE_HW3, seed=(0, 1, 2, 3))

    assert recorders[0].draws == [(0.018468790609510788, 0.5486316869276056)]


def test_a_view_that_is_the_tile_is_copied():
    view_HW3 = apply_seeded(A.Compose([A.NoOp()]), _TILE_HW3, seed=(0,))

    assert not np.shares_memory(view_HW3, _TILE_HW3)


@pytest.mark.parametrize(
    ("transform", "got"),
    [
        (A.Normalize(), r"ndarray float32 of shape \(8, 8, 3\)"),
        (A.ToGray(num_output_channels=1, p=1.0), r"ndarray uint8 of shape \(8, 8\)"),
        (_DoubleChannels(p=1.0), r"ndarray uint8 of shape \(8, 8, 6\)"),
    ],
)
def test_a_view_that_is_no_uint8_rgb_image_is_refused(transform, got):
    with pytest.raises(PolicyError, match=f"must return a uint8 RGB image.*{got}.*normalisation"):
        apply_seeded(A.Compose([transform]), _TILE_HW3, seed=(0,))


def test_record_of_an_installed_policy_names_class_fields_and_version():
    record = policy_record(load_policy("simclr", options={"strength": 0.5}))

    assert record["class"] == "augment_policies.simclr:SimCLRPolicy"
    assert record["fields"]["strength"] == 0.5
    assert record["distribution"] == "medsimclr"
    assert record["version"] == importlib.metadata.version("medsimclr")
    assert record["albumentations"] == importlib.metadata.version("albumentations")


def test_record_can_be_written_as_json_and_rebuilds_the_policy():
    policy = load_policy("stain_jitter", options={"gain_sigma": 0.05, "blur_sigma_px": [0.2, 0.4]})

    record = json.loads(json.dumps(policy_record(policy)))

    assert load_policy(record["class"], options=record["fields"]) == policy


def test_record_refuses_what_is_no_dataclass():
    with pytest.raises(PolicyError, match="must be an instance of a dataclass, got"):
        policy_record(object())


def test_record_of_a_policy_outside_any_distribution_has_no_version(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from dataclasses import dataclass\n"
        "import albumentations as A\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Mine:\n"
        "    def contrastive(self, view_px):\n"
        "        return A.Compose([A.Resize(view_px, view_px)])\n"
        "    supervised = contrastive\n"
    )

    policy = load_policy(f"{path}:Mine")
    record = policy_record(policy)

    assert dataclasses.is_dataclass(policy)
    assert record["distribution"] is record["version"] is None
    assert record["class"].startswith("policy_file_mine_")
    assert str(tmp_path) not in json.dumps(record)
