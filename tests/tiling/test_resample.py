import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsimclr.tiling.resample import area_resample, linear_resample
from tests.references.area_box import mean_over_box
from tests.references.pyramid import noise_levels


@settings(max_examples=60, deadline=None)
@given(
    scale=st.floats(1, 4) | st.sampled_from([1.0, 2.0, 2.0005, 3.0]),
    offset_xy=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
    tile_px=st.integers(1, 9),
)
def test_area_resample_equals_the_mean_over_every_pixels_box(scale, offset_xy, tile_px):
    side = int(np.ceil(scale * tile_px)) + 1
    (region_HW3,) = noise_levels((side, side))
    tile_HW3 = area_resample(region_HW3, offset_xy=offset_xy, scale=scale, tile_px=tile_px)
    assert tile_HW3.dtype == np.uint8
    for row in range(tile_px):
        for column in range(tile_px):
            left, top = offset_xy[0] + column * scale, offset_xy[1] + row * scale
            mean_3 = mean_over_box(
                region_HW3, left=left, top=top, right=left + scale, bottom=top + scale
            )
            assert np.abs(tile_HW3[row, column] - mean_3).max() <= 0.51


@pytest.mark.parametrize("scale", [2, 3])
def test_a_region_of_whole_pixels_is_averaged_exactly(scale):
    (region_HW3,) = noise_levels((scale * 6, scale * 6))
    tile_HW3 = area_resample(region_HW3, offset_xy=(0, 0), scale=float(scale), tile_px=6)
    exact_HW3 = region_HW3.reshape(6, scale, 6, scale, 3).mean(axis=(1, 3))
    assert np.abs(tile_HW3 - exact_HW3).max() <= 0.5


@pytest.mark.parametrize("scale", [0.91, 0.95, 0.99])
@pytest.mark.parametrize("offset_xy", [(0.0, 0.0), (0.25, 0.7)])
def test_linear_resample_keeps_a_ramp_in_its_place(scale, offset_xy):
    # The value of a ramp at a point is the point itself, so any shift shows.
    x = np.arange(24) + 0.5
    ramp_HW3 = np.zeros((24, 24, 3))
    ramp_HW3[:, :, 0], ramp_HW3[:, :, 1] = x * 8, x[:, None] * 8
    tile_HW3 = linear_resample(
        ramp_HW3.astype(np.uint8), offset_xy=offset_xy, scale=scale, tile_px=20
    )
    centres = (np.arange(20) + 0.5) * scale
    inner = slice(2, 18)
    assert np.abs(tile_HW3[5, inner, 0] - (offset_xy[0] + centres[inner]) * 8).max() <= 1
    assert np.abs(tile_HW3[inner, 5, 1] - (offset_xy[1] + centres[inner]) * 8).max() <= 1
