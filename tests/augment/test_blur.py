import numpy as np
import pytest

from medsimclr.augment.blur import blur
from tests.references.gaussian_blur import gaussian_blur_loops


@pytest.mark.parametrize("sigma_px", [0.1, 0.3, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("radius_px", [0, 1, 4, 11])
def test_blur_equals_the_full_kernel_in_float64_within_one_grey_level(sigma_px, radius_px):
    image_HW3 = np.random.default_rng(0).integers(0, 256, (30, 31, 3), dtype=np.uint8)

    blurred_HW3 = blur(image_HW3, sigma_px=sigma_px, radius_px=radius_px)

    expected_HW3 = gaussian_blur_loops(image_HW3, sigma_px=sigma_px, radius_px=radius_px)
    assert blurred_HW3.dtype == np.uint8
    assert np.abs(blurred_HW3 - expected_HW3).max() <= 0.55


@pytest.mark.parametrize("level", [0, 77, 255])
@pytest.mark.parametrize("size_hw", [(1, 1), (2, 9), (9, 1)])
def test_one_colour_of_any_size_is_unchanged(level, size_hw):
    image_HW3 = np.full((*size_hw, 3), level, dtype=np.uint8)

    np.testing.assert_array_equal(blur(image_HW3, sigma_px=2.0, radius_px=11), image_HW3)
