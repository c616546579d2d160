"""What every stain policy must hold on real tissue at its default strength."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.policy import apply_seeded
from medsimclr.augment.stain import OD_OF_LEVEL

_STAIN_ALONE = {
    "stain_jitter": {"stain_p": 1.0, "blur_p": 0.0},
    "rand_stain_na": {"template_p": 1.0},
    "stain_mix": {"exchange_p": 1.0},
    "histology": {"stain_p": 1.0, "focus_p": 0.0, "jpeg_p": 0.0},
    "ihc": {"stain_p": 1.0, "focus_p": 0.0},
}
_FITTED = ("rand_stain_na", "stain_mix")
_FOLDERS = ("tiles/lc25000", "images/breakhis100x", "slides")
_every_policy = pytest.mark.parametrize("name", _STAIN_ALONE)


def _real_tiles(folder):
    paths = sorted(path for path in folder.rglob("*") if path.suffix in {".jpg", ".jpeg"})
    for path in paths[:: max(1, len(paths) // 24)]:
        yield np.asarray(Image.open(path).convert("RGB"))[:224, :224]


def _stain_alone(name):
    geometry = {"crop_area_min": 1.0, "symmetry_p": 0.0}
    return load_policy(name, options={**geometry, **_STAIN_ALONE[name]}).contrastive(224)


@_every_policy
@pytest.mark.parametrize("folder", _FOLDERS)
def test_less_than_one_percent_of_real_tissue_is_clipped(shared_data, name, folder):
    compose = _stain_alone(name)
    clipped = []
    for tile, tile_HW3 in enumerate(_real_tiles(shared_data / folder)):
        is_tissue_HW = OD_OF_LEVEL[tile_HW3].mean(axis=2) > 0.15
        for view in range(2):
            view_HW3 = apply_seeded(compose, tile_HW3, seed=(0, 0, tile, view))
            is_new_HW3 = (view_HW3 == 255) & (tile_HW3 < 255) | (view_HW3 == 0) & (tile_HW3 > 0)
            clipped.append(is_new_HW3.any(axis=2)[is_tissue_HW].mean())

    assert np.nanmean(clipped) < 0.01


@_every_policy
def test_white_stays_white_and_near_white_glass_within_two_levels_on_average(name):
    glass_HW3 = np.full((224, 224, 3), (170, 80, 150), dtype=np.uint8)
    glass_HW3[:, :100] = 255
    glass_HW3[:, 100:150] = (250, 249, 250)
    compose = _stain_alone(name)

    moved = []
    for view in range(20):
        view_HW3 = apply_seeded(compose, glass_HW3, seed=(0, 0, 0, view))
        moved_HW = np.abs(view_HW3.astype(int) - glass_HW3).max(axis=2)
        assert moved_HW[:, :100].max() == 0
        moved.append(moved_HW[:, 100:150].max())

    assert np.mean(moved) <= 2


@_every_policy
def test_the_stain_of_real_tissue_does_vary(shared_data, name):
    compose = _stain_alone(name)
    tile_HW3 = next(_real_tiles(shared_data / "images/breakhis100x"))

    means = [
        apply_seeded(compose, tile_HW3, seed=(0, 0, 0, view)).mean(axis=(0, 1))
        for view in range(20)
    ]

    assert np.std(means, axis=0).min() > 2


@pytest.mark.parametrize("name", _FITTED)
def test_fitted_statistics_survive_json_and_change_the_views(shared_data, name):
    slides = [
        (str(index), np.stack([tile_HW3]))
        for index, tile_HW3 in enumerate(_real_tiles(shared_data / "images/breakhis100x"))
    ]
    fields = type(load_policy(name)).fit(slides)

    fitted = load_policy(name, options=json.loads(json.dumps(fields)))

    assert fitted.statistics != load_policy(name).statistics
    recorded = json.loads(json.dumps(dataclasses.asdict(fitted)))
    assert load_policy(name, options=recorded) == fitted


@pytest.mark.parametrize("name", _FITTED)
def test_a_store_without_tissue_cannot_be_fitted(name):
    blank = [("a", np.full((4, 64, 64, 3), 255, dtype=np.uint8))]

    with pytest.raises(ValueError, match="at least one slide with tissue, got none"):
        type(load_policy(name)).fit(blank)


def test_dab_is_jittered_half_as_much_as_haematoxylin_and_never_shifted():
    jitter = load_policy("ihc").contrastive(32)[2]

    drawn = [jitter.get_params() for _ in range(200)]

    gains_N3 = np.array([params["gain_3"] for params in drawn])
    offsets_N3 = np.array([params["offset_3"] for params in drawn])
    np.testing.assert_allclose(np.abs(gains_N3 - 1).max(axis=0), (0.2, 0.1, 0.2), rtol=0.05)
    assert not offsets_N3[:, 1].any()
    assert offsets_N3[:, 0].any()
