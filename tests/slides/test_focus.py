import itertools

import cv2
import numpy as np
import pytest

from medsimclr.slides.focus import focus_score
from medsimclr.slides.opening import open_slide
from tests.references.laplacian import laplacian_variance_loops
from tests.references.pyramid import noise_levels


def test_focus_score_equals_loop_reference():
    (tile_HW3,) = noise_levels((11, 7))
    assert focus_score(tile_HW3) == pytest.approx(laplacian_variance_loops(tile_HW3), rel=0.01)
    grey_HW3 = np.repeat(tile_HW3[:, :, :1], 3, axis=2)
    assert focus_score(grey_HW3) == pytest.approx(laplacian_variance_loops(grey_HW3), rel=1e-9)


def test_focus_score_of_the_sharpest_large_tile_is_exact():
    checks_HW = (np.indices((1024, 1024)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert focus_score(np.repeat(checks_HW[:, :, None], 3, axis=2)) == 1020**2


def test_focus_score_of_a_flat_tile_is_zero():
    assert focus_score(np.full((32, 32, 3), 240, np.uint8)) == 0


def test_focus_score_falls_with_blur_on_real_tissue(shared_data):
    with open_slide(shared_data / "slides" / "cmu_small_region.svs") as slide:
        tile_HW3 = slide.read_region((900, 1200), level=0, size_xy=(256, 256))
    scores = [focus_score(tile_HW3)] + [
        focus_score(cv2.GaussianBlur(tile_HW3, (0, 0), sigma)) for sigma in (0.7, 1.5, 3.0)
    ]
    assert all(sharp > 1.5 * blurred for sharp, blurred in itertools.pairwise(scores))
