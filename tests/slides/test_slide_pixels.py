import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsimclr.slides.pixels import area_average, fit_within, on_background
from tests.references.area_average import area_average_loops
from tests.references.pyramid import noise_levels


@settings(max_examples=40, deadline=None)
@given(
    size_xy=st.tuples(st.integers(1, 23), st.integers(1, 23)),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    block_px=st.integers(1, 30),
)
def test_area_average_in_blocks_equals_loop_reference(size_xy, shares, block_px):
    (image_HW3,) = noise_levels(size_xy)
    target_xy = tuple(1 + int(share * (n - 1)) for n, share in zip(size_xy, shares, strict=True))
    averaged = area_average(
        _reader(image_HW3),
        size_xy=size_xy,
        target_xy=target_xy,
        block_px=block_px,
    )
    expected = area_average_loops(image_HW3, target_xy)
    assert averaged.dtype == np.uint8
    assert np.abs(averaged - expected).max() <= 0.501


@pytest.mark.parametrize("target_xy", [(40, 100), (20, 50), (13, 31), (10, 100)])
def test_area_average_reads_every_pixel_once_and_no_more_than_a_block(target_xy):
    (image_HW3,) = noise_levels((40, 100))
    seen_HW = np.zeros((100, 40), int)

    def read_block(x, y, width, height):
        assert max(width, height) <= 16
        seen_HW[y : y + height, x : x + width] += 1
        return image_HW3[y : y + height, x : x + width]

    area_average(read_block, size_xy=(40, 100), target_xy=target_xy, block_px=16)
    assert (seen_HW == 1).all()


def test_area_average_at_full_size_returns_the_pixels_themselves():
    (image_HW3,) = noise_levels((9, 14))
    for block_px in (1 << 20, 5):
        same = area_average(
            _reader(image_HW3), size_xy=(9, 14), target_xy=(9, 14), block_px=block_px
        )
        np.testing.assert_array_equal(same, image_HW3)


def _reader(image_HW3):
    return lambda x, y, width, height: image_HW3[y : y + height, x : x + width]


@pytest.mark.parametrize(
    ("size_xy", "max_px", "expected"),
    [
        ((4000, 1000), 512, (512, 128)),
        ((1000, 4000), 512, (128, 512)),
        ((100, 50), 512, (100, 50)),
        ((10_000, 1), 512, (512, 1)),
    ],
)
def test_fit_within_keeps_the_shape_and_never_enlarges(size_xy, max_px, expected):
    assert fit_within(size_xy, max_px=max_px) == expected


def test_on_background_mixes_by_alpha_and_rounds_to_nearest():
    rgba_HW4 = np.array(
        [[[10, 20, 30, 255], [0, 0, 0, 0], [200, 100, 0, 128], [1, 2, 3, 254]]], np.uint8
    )
    mixed = on_background(rgba_HW4, background_rgb=(255, 255, 250))
    alpha = rgba_HW4[:, :, 3:].astype(np.float64) / 255
    expected = np.rint(rgba_HW4[:, :, :3] * alpha + np.array([255, 255, 250]) * (1 - alpha))
    np.testing.assert_array_equal(mixed, expected)
    assert mixed[0, 1].tolist() == [255, 255, 250]


def test_area_average_has_the_same_bits_with_any_number_of_threads():
    # Matrix products of floats did not: a store made again elsewhere was another store.
    code = (
        "import numpy as np, hashlib\n"
        "from medsimclr.slides.pixels import area_average\n"
        "image = np.random.default_rng(0).integers(0, 256, (512, 704, 3)).astype(np.uint8)\n"
        "small = area_average(lambda x, y, w, h: image[y : y + h, x : x + w],\n"
        "                     size_xy=(704, 512), target_xy=(512, 372))\n"
        "print(hashlib.sha256(small.tobytes()).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in (
            {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
            {"OPENBLAS_CORETYPE": "Prescott"},
        )
    }
    assert len(digests) == 1
