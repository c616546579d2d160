import albumentations as A
import numpy as np
import pytest

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.geometric import is_geometric, without_geometry
from medsimclr.augment.policy import apply_seeded
from medsimclr.augment.transforms import StainJitter
from tests.tissue_images import tissue_images

_TILE_HW3 = tissue_images(1, 40, 0)[0]


class _Shear(A.DualTransform):
    """A stranger's transform that moves pixels."""


@pytest.mark.parametrize(
    ("transform", "is_moving"),
    [
        (A.RandomResizedCrop, True),
        (A.Resize, True),
        (A.HorizontalFlip, True),
        (_Shear, True),
        (A.Morphological, False),
        (A.CoarseDropout, False),
        (A.GaussianBlur, False),
        (StainJitter, False),
    ],
)
def test_what_moves_pixels_is_told_by_its_class(transform, is_moving):
    assert is_geometric(transform) is is_moving


@pytest.mark.parametrize("name", ["geometry", "none"])
def test_a_policy_of_geometry_alone_leaves_the_tile(name):
    compose = without_geometry(load_policy(name).contrastive(40))
    view_HW3 = apply_seeded(compose, _TILE_HW3, seed=(0, 1))
    np.testing.assert_array_equal(view_HW3, _TILE_HW3)


def test_without_geometry_a_view_is_a_function_of_each_pixel_alone():
    policy = load_policy("stain_jitter", options={"blur_p": 0.0, "stain_p": 1.0})
    compose = without_geometry(policy.contrastive(40))
    view_HW3 = apply_seeded(compose, _TILE_HW3, seed=(0, 3))
    turned_HW3 = apply_seeded(compose, _TILE_HW3[::-1].copy(), seed=(0, 3))
    assert not np.array_equal(view_HW3, _TILE_HW3)
    np.testing.assert_array_equal(turned_HW3, view_HW3[::-1])


def test_nested_geometry_rests_and_the_compose_given_does_not_change():
    compose = A.Compose([A.OneOf([A.VerticalFlip(p=1.0), A.InvertImg(p=1.0)], p=1.0)])
    still = without_geometry(compose)
    seen = {
        name: {apply_seeded(used, _TILE_HW3, seed=(seed,)).tobytes() for seed in range(20)}
        for name, used in {"still": still, "given": compose}.items()
    }
    inverted = (255 - _TILE_HW3).tobytes()
    assert seen["still"] == {_TILE_HW3.tobytes(), inverted}
    assert seen["given"] == {_TILE_HW3[::-1].tobytes(), inverted}
