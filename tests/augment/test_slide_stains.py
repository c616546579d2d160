import numpy as np
import pytest

from medsimclr.augment.common_slides import COMMON_SLIDES
from medsimclr.augment.slide_stains import SlideStains


def _basis(slide):
    normal_3 = np.cross(slide.haematoxylin, slide.eosin)
    return np.stack([slide.haematoxylin, slide.eosin, normal_3 / np.linalg.norm(normal_3)])


def test_exchange_moves_each_stain_and_keeps_the_rest():
    stains = SlideStains(COMMON_SLIDES)
    source, target = COMMON_SLIDES[3], COMMON_SLIDES[8]

    moved_33 = _basis(source) @ stains.exchange_matrix(3, 8)

    gain_2 = np.clip(np.array(target.maxima) / source.maxima, 0.5, 2.0)
    np.testing.assert_allclose(moved_33, np.diag([*gain_2, 1.0]) @ _basis(target), atol=1e-12)


def test_an_exchange_with_itself_changes_nothing():
    stains = SlideStains(COMMON_SLIDES)

    for slide in range(len(stains)):
        np.testing.assert_allclose(stains.exchange_matrix(slide, slide), np.eye(3), atol=1e-12)


@pytest.mark.parametrize("slide", range(len(COMMON_SLIDES)))
def test_tissue_distributed_like_a_slide_is_recognised(slide):
    truth = COMMON_SLIDES[slide]
    od_N3 = np.random.default_rng(slide).multivariate_normal(
        truth.od_mean, truth.od_covariance, size=800
    )

    assert SlideStains(COMMON_SLIDES).likeliest(od_N3) == slide


def test_a_single_pixel_is_enough_to_choose():
    assert SlideStains(COMMON_SLIDES[:1]).likeliest(np.full((1, 3), 0.4)) == 0
