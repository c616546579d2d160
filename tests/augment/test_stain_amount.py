import numpy as np
import pytest

from medsimclr.augment.stain_amount import mean_amounts, stain_quantiles
from tests.references.stain_gap import amounts_of_pixel, mean_amounts_of_tile
from tests.tissue_images import shifted_images


def test_mean_amounts_equal_the_loop_over_pixels():
    tiles_NHW3 = shifted_images(3, 20, 0)
    tiles_NHW3[0, :8] = 250

    amount_N3 = mean_amounts(tiles_NHW3)

    for tile_HW3, amount_3 in zip(tiles_NHW3, amount_N3, strict=True):
        np.testing.assert_allclose(amount_3, mean_amounts_of_tile(tile_HW3), atol=1e-12)


def test_quantiles_equal_those_of_the_loop_over_pixels():
    pixels_N3 = shifted_images(1, 30, 1).reshape(-1, 3)
    found = [amounts_of_pixel(rgb) for rgb in pixels_N3]
    amounts_N3 = np.array([amount_3 for amount_3 in found if amount_3 is not None])

    quantile_Q3 = stain_quantiles(pixels_N3)

    assert quantile_Q3.shape == (19, 3)
    for row, percent in enumerate(range(5, 100, 5)):
        expected_3 = np.percentile(amounts_N3, percent, axis=0)
        np.testing.assert_allclose(quantile_Q3[row], expected_3, atol=1e-12)


@pytest.mark.parametrize(("tissue_rows", "is_tissue"), [(0, False), (1, False), (3, True)])
def test_a_tile_of_hardly_any_tissue_has_no_amount(tissue_rows, is_tissue):
    tiles_NHW3 = np.full((1, 40, 40, 3), 250, np.uint8)
    tiles_NHW3[0, :tissue_rows] = (120, 60, 150)
    assert np.isfinite(mean_amounts(tiles_NHW3)).all() == is_tissue


def test_the_mean_of_a_large_tile_is_nearly_that_of_all_its_pixels():
    tiles_NHW3 = shifted_images(1, 128, 2)
    np.testing.assert_allclose(
        mean_amounts(tiles_NHW3)[0], mean_amounts_of_tile(tiles_NHW3[0]), atol=0.02
    )


def test_no_tiles_have_no_amounts():
    assert mean_amounts(np.empty((0, 8, 8, 3), np.uint8)).shape == (0, 3)
