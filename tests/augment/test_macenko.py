import numpy as np
import pytest

from medsimclr.augment.macenko import PUBLISHED_HE, SlideStain, fit_slide_stains, slide_stain

_PINK_BLUE = np.array([[0.60, 0.68, 0.42], [0.20, 0.93, 0.31]])


def _stained(vectors_23, *, eosin_share=0.5, n_pixels=20_000, seed=0, noise=0.01):
    """Draw pixels of cells that are mostly one stain or the other, by Beer-Lambert."""
    generator = np.random.default_rng(seed)
    vectors_23 = vectors_23 / np.linalg.norm(vectors_23, axis=1, keepdims=True)
    is_eosin_N = generator.random(n_pixels) < eosin_share
    amount_N2 = generator.uniform(0.4, 1.2, (n_pixels, 2))
    amount_N2[is_eosin_N, 0] *= generator.uniform(0.0, 0.1, is_eosin_N.sum())
    amount_N2[~is_eosin_N, 1] *= generator.uniform(0.0, 0.1, (~is_eosin_N).sum())
    od_N3 = amount_N2 @ vectors_23 + generator.normal(0.0, noise, (n_pixels, 3))
    return np.clip(np.round(255.0 * np.exp(-od_N3)), 0, 255).astype(np.uint8)


def _degrees(a, b):
    cosine = np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


@pytest.mark.parametrize("vectors_23", [_PINK_BLUE, PUBLISHED_HE])
@pytest.mark.parametrize("eosin_share", [0.2, 0.5, 0.8])
def test_planted_vectors_are_found_and_named_right(vectors_23, eosin_share):
    found = slide_stain(_stained(vectors_23, eosin_share=eosin_share))

    assert _degrees(found.haematoxylin, vectors_23[0]) < 4
    assert _degrees(found.eosin, vectors_23[1]) < 4
    assert min(found.maxima) > 1.0
    assert max(found.maxima) < 1.35


def test_glass_and_ink_do_not_count():
    pixels_N3 = _stained(_PINK_BLUE)
    glass_N3 = np.random.default_rng(0).integers(230, 256, (60_000, 3), dtype=np.uint8)
    ink_N3 = np.tile(np.array([5, 5, 5], dtype=np.uint8), (20_000, 1))

    found = slide_stain(np.concatenate([pixels_N3, glass_N3, ink_N3]))

    assert found == slide_stain(pixels_N3)


@pytest.mark.parametrize(
    "pixels_N3",
    [
        np.full((5000, 3), 255, np.uint8),
        np.zeros((5000, 3), np.uint8),
        np.full((0, 3), 9, np.uint8),
        _stained(_PINK_BLUE, n_pixels=100),
    ],
    ids=["white", "black", "none", "hardly any tissue"],
)
def test_without_tissue_there_is_no_estimate(pixels_N3):
    assert slide_stain(pixels_N3) is None


@pytest.mark.parametrize(
    "pixels_N3",
    [
        np.full((5000, 3), (170, 60, 140), np.uint8),
        _stained(_PINK_BLUE, eosin_share=1.0, noise=0.001)[:, [1, 0, 2]],
        _stained(np.array([[0.1, 0.2, 0.97], [0.95, 0.2, 0.2]])),
        np.random.default_rng(0).integers(0, 256, (5000, 3), dtype=np.uint8),
    ],
    ids=["one colour", "one stain that is green", "yellow and cyan", "noise"],
)
def test_what_cannot_be_he_falls_back_to_the_published_vectors(pixels_N3):
    found = slide_stain(pixels_N3)

    np.testing.assert_allclose([found.haematoxylin, found.eosin], PUBLISHED_HE)
    assert min(found.maxima) > 0


def test_real_slides_of_unlike_patients_give_believable_vectors(shared_data):
    from PIL import Image

    paths = sorted((shared_data / "images" / "breakhis100x").rglob("*.jpg"))[::60]
    for path in paths:
        pixels_N3 = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
        found = slide_stain(pixels_N3[::7])
        assert found.haematoxylin[0] > found.eosin[0]
        assert found.eosin[1] > 0.7


def test_fit_leaves_blank_slides_out_and_wants_one_with_tissue():
    blank_NHW3 = np.full((3, 16, 16, 3), 255, np.uint8)
    tissue_NHW3 = _stained(_PINK_BLUE, n_pixels=3 * 64 * 64).reshape(3, 64, 64, 3)

    assert len(fit_slide_stains([("a", blank_NHW3), ("b", tissue_NHW3)])) == 1
    with pytest.raises(ValueError, match="at least one slide with tissue, got none"):
        fit_slide_stains([("a", blank_NHW3)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eosin": (0.65, 0.70, 0.29)}, "two different vectors"),
        ({"maxima": (0.0, 1.0)}, "maxima must be above 0"),
        ({"od_mean": (float("nan"), 0.0, 0.0)}, "must be finite"),
        ({"od_covariance": ((0.0,) * 3,) * 3}, "eigenvalues above 0"),
    ],
)
def test_impossible_stains_are_refused(change, message):
    good = {
        "haematoxylin": (0.65, 0.70, 0.29),
        "eosin": (0.07, 0.99, 0.11),
        "maxima": (1.0, 1.0),
        "od_mean": (0.3, 0.5, 0.3),
        "od_covariance": ((0.1, 0.0, 0.0), (0.0, 0.1, 0.0), (0.0, 0.0, 0.1)),
    }

    with pytest.raises(ValueError, match=message):
        SlideStain(**{**good, **change})
