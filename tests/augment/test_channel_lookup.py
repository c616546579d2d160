import copy
import pickle

import numpy as np
import pytest

from medsimclr.augment.channel_lookup import ChannelLookup


def _tile_and_table(height, width, seed=0):
    generator = np.random.default_rng(seed)
    tile_HW3 = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return tile_HW3, generator.integers(0, 65536, (3, 256), dtype=np.uint16)


def _indexed(tile_HW3, table_CL):
    return np.stack([table_CL[channel][tile_HW3[..., channel]] for channel in range(3)], axis=2)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (5, 1), (31, 33), (224, 224)])
def test_a_lookup_equals_indexing_again_and_again(size_hw):
    lookup = ChannelLookup(*size_hw)

    for seed in range(3):
        tile_HW3, table_CL = _tile_and_table(*size_hw, seed)
        np.testing.assert_array_equal(lookup(tile_HW3, table_CL), _indexed(tile_HW3, table_CL))


def test_part_of_a_tile_is_looked_up_and_left_alone():
    tile_HW3, table_CL = _tile_and_table(40, 41)
    part_HW3, before_HW3 = tile_HW3[3:19, 5:38], tile_HW3.copy()

    entries_HW3 = ChannelLookup(16, 33)(part_HW3, table_CL)

    np.testing.assert_array_equal(entries_HW3, _indexed(part_HW3, table_CL))
    np.testing.assert_array_equal(tile_HW3, before_HW3)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda lookup: pickle.loads(pickle.dumps(lookup))]
)
def test_a_copy_in_another_process_has_memory_of_its_own(copied):
    first = ChannelLookup(8, 9)
    second = copied(first)
    tile_HW3, table_CL = _tile_and_table(8, 9)

    entries_HW3 = second(tile_HW3, table_CL)

    np.testing.assert_array_equal(entries_HW3, _indexed(tile_HW3, table_CL))
    assert not np.shares_memory(entries_HW3, first(tile_HW3, table_CL))
