import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from medsimclr.augment.channel_lookup import ChannelLookup
from medsimclr.augment.stain import jitter_stain
from tests.references.stain import jitter_stain_loops

_ZERO = (0.0, 0.0, 0.0)
_ONE = (1.0, 1.0, 1.0)


def _random_tile(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("gain_HED", "offset_HED"),
    [
        ((1.2, 0.8, 1.1), _ZERO),
        (_ONE, (0.2, -0.2, 0.1)),
        ((0.8, 1.2, 0.9), (-0.2, 0.1, 0.2)),
        (_ZERO, _ZERO),
        ((3.0, 3.0, 3.0), (1.0, 1.0, 1.0)),
    ],
)
@pytest.mark.parametrize("size_hw", [(40, 41), (1, 1), (3, 1), (1, 7)])
def test_jitter_stain_equals_float64_loops_within_one_grey_level(gain_HED, offset_HED, size_hw):
    tile_HW3 = _random_tile(*size_hw)

    jittered_HW3 = jitter_stain(tile_HW3, gain_HED=gain_HED, offset_HED=offset_HED)

    expected_HW3 = jitter_stain_loops(tile_HW3, gain_HED, offset_HED)
    assert jittered_HW3.dtype == np.uint8
    assert np.abs(jittered_HW3 - expected_HW3).max() <= 0.6


def test_strips_join_without_a_seam():
    tile_HW3 = _random_tile(300, 260)
    settings = {"gain_HED": (1.1, 0.9, 1.0), "offset_HED": (0.1, 0.0, -0.1)}

    by_row_HW3 = np.concatenate([jitter_stain(row_HW3[None], **settings) for row_HW3 in tile_HW3])

    # Vectorised and scalar code paths of OpenCV round the odd value differently.
    difference_HW3 = jitter_stain(tile_HW3, **settings).astype(int) - by_row_HW3
    assert np.abs(difference_HW3).max() <= 1


def test_zero_strength_returns_the_input_bit_for_bit_in_new_memory():
    tile_HW3 = _random_tile(64, 64)

    jittered_HW3 = jitter_stain(tile_HW3, gain_HED=_ONE, offset_HED=_ZERO)

    np.testing.assert_array_equal(jittered_HW3, tile_HW3)
    assert not np.shares_memory(jittered_HW3, tile_HW3)


@given(gain_HED=st.tuples(*[st.floats(0, 50)] * 3), offset_HED=st.tuples(*[st.floats(-50, 50)] * 3))
def test_white_stays_white_at_any_strength(gain_HED, offset_HED):
    white_HW3 = np.full((8, 8, 3), 255, dtype=np.uint8)

    jittered_HW3 = jitter_stain(white_HW3, gain_HED=gain_HED, offset_HED=offset_HED)

    np.testing.assert_array_equal(jittered_HW3, white_HW3)


def test_offset_leaves_unevenly_white_glass_alone_and_moves_tissue():
    glass_and_tissue_HW3 = np.array([[[245, 244, 243], [180, 90, 160]]], dtype=np.uint8)

    jittered_HW3 = jitter_stain(
        glass_and_tissue_HW3, gain_HED=_ONE, offset_HED=(0.2, 0.2, 0.2)
    ).astype(int)

    moved_HW = np.abs(jittered_HW3 - glass_and_tissue_HW3).max(axis=2)
    assert moved_HW[0, 0] == 0
    assert moved_HW[0, 1] > 20


_TINY_TILES = arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3)))


@given(
    tile_HW3=_TINY_TILES,
    gain_HED=st.tuples(*[st.floats(0, 5)] * 3),
    offset_HED=st.tuples(*[st.floats(-2, 2)] * 3),
)
def test_any_tile_equals_float64_loops_far_beyond_the_policies_strengths(
    tile_HW3, gain_HED, offset_HED
):
    jittered_HW3 = jitter_stain(tile_HW3, gain_HED=gain_HED, offset_HED=offset_HED)

    expected_HW3 = jitter_stain_loops(tile_HW3, gain_HED, offset_HED)
    assert np.abs(jittered_HW3 - expected_HW3).max() <= 1.0


@given(
    tile_HW3=_TINY_TILES,
    gain_HED=st.tuples(*[st.floats(0, 100)] * 3),
    offset_HED=st.tuples(*[st.floats(-100, 100)] * 3),
)
def test_no_strength_wraps_or_takes_more_than_half_of_a_density_twice(
    tile_HW3, gain_HED, offset_HED
):
    jittered_HW3 = jitter_stain(tile_HW3, gain_HED=gain_HED, offset_HED=offset_HED)

    # Half by the shift and half of the rest by the matrix.
    brightest_HW3 = 255.0 * (np.maximum(tile_HW3, 1) / 255.0) ** 0.25
    assert (jittered_HW3 <= brightest_HW3 + 0.6).all()


def test_memory_used_again_changes_nothing():
    lookup = ChannelLookup(40, 41)

    for seed, gain in ((0, 1.2), (1, 0.8)):
        tile_HW3 = _random_tile(40, 41, seed)
        settings = {"gain_HED": (gain, 1.0, 1.0), "offset_HED": (0.1, 0.0, -0.1)}
        np.testing.assert_array_equal(
            jitter_stain(tile_HW3, lookup=lookup, **settings), jitter_stain(tile_HW3, **settings)
        )


def test_more_haematoxylin_darkens_real_nuclei_more_than_stroma(shared_data):
    path = sorted((shared_data / "tiles" / "lc25000").rglob("*.jp*g"))[0]
    tile_HW3 = np.asarray(Image.open(path).convert("RGB"))

    jittered_HW3 = jitter_stain(tile_HW3, gain_HED=(1.3, 1.0, 1.0), offset_HED=_ZERO)

    darkening_HW = (tile_HW3.astype(int) - jittered_HW3).mean(axis=2)
    red_HW = tile_HW3[..., 0]
    nuclei_HW = red_HW <= np.quantile(red_HW, 0.1)
    pale_HW = red_HW >= np.quantile(red_HW, 0.9)
    assert darkening_HW[nuclei_HW].mean() > 10 + darkening_HW[pale_HW].mean()
