from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medsimclr.data.unit_order import UnitOrder, form_units

_CASES = {
    "sizes": st.lists(st.integers(1, 40), min_size=1, max_size=12),
    "n_units": st.integers(1, 4),
    "share": st.integers(1, 6),
    "seed": st.integers(0, 99),
}


def groups_of(sizes, n_units, share):
    group_N = np.repeat(np.arange(len(sizes)), sizes)
    group_N = np.random.default_rng(0).permutation(group_N)
    assume(n_units <= len(sizes))
    assume(len(group_N) >= 3 * n_units * share)
    return group_N


def order_of(group_N, n_units, share, seed, *, start=0, stop=None, **place):
    batch_size = n_units * share
    units = form_units(group_N, n_units=n_units, batch_size=batch_size, seed=seed)
    stop = 4 * -(-len(group_N) // batch_size) if stop is None else stop
    return UnitOrder(
        units=units,
        n_units=n_units,
        batch_size=batch_size,
        seed=seed,
        start_step=start,
        stop_step=stop,
        **place,
    )


@settings(max_examples=100, deadline=None)
@given(**_CASES)
def test_units_share_out_the_tiles_and_can_each_give_their_shares_of_a_round(
    sizes, n_units, share, seed
):
    group_N = groups_of(sizes, n_units, share)
    n_steps = -(-len(group_N) // (n_units * share))
    units = form_units(group_N, n_units=n_units, batch_size=n_units * share, seed=seed)
    assert sorted(chain(*units)) == list(range(len(group_N)))
    assert min(map(len, units)) >= share
    assert max(map(len, units)) * n_steps * n_units <= len(group_N) * (n_steps - 1)


@settings(max_examples=100, deadline=None)
@given(**_CASES)
def test_a_batch_holds_equal_shares_of_k_units_and_no_tile_twice(sizes, n_units, share, seed):
    group_N = groups_of(sizes, n_units, share)
    order = order_of(group_N, n_units, share, seed)
    unit_N = np.empty(len(group_N), int)
    for number, unit in enumerate(order.units):
        unit_N[unit] = number
    for batch in order:
        tiles = [tile for _, tile in batch]
        assert len(set(tiles)) == len(tiles) == n_units * share
        assert sorted(Counter(unit_N[tiles].tolist()).values()) == [share] * n_units


def test_large_enough_patients_are_units_and_a_batch_holds_k_of_them():
    sizes = [20, 31, 17, 44, 25]
    group_N = np.repeat(np.arange(5), sizes)
    order = order_of(group_N, 2, 8, 0, stop=200)
    assert sorted(map(len, order.units)) == sorted(sizes)
    pairs = Counter(frozenset(group_N[[tile for _, tile in batch]].tolist()) for batch in order)
    assert {len(pair) for pair in pairs} == {2}
    assert len(pairs) == 10, "every two patients meet"


def test_small_patients_are_put_together_and_a_large_one_is_cut():
    group_N = np.repeat(np.arange(6), [2, 3, 1, 4, 20, 70])
    units = form_units(group_N, n_units=2, batch_size=16, seed=0)
    assert [sorted(set(group_N[unit].tolist())) for unit in units] == [[0, 1, 2, 3], [4], [5], [5]]
    assert [len(unit) for unit in units] == [10, 20, 35, 35]


def test_small_patients_that_are_left_over_join_the_last_unit():
    units = form_units(np.repeat(np.arange(16), 3), n_units=2, batch_size=16, seed=0)
    assert [len(unit) for unit in units] == [9, 9, 9, 9, 12]


def test_a_large_patient_comes_all_through_a_round_and_not_at_its_end():
    group_N = np.repeat(np.arange(11), [8] * 10 + [40])
    batches = list(order_of(group_N, 1, 8, 0, stop=200 * 15))
    is_large = np.array([group_N[batch[0][1]] == 10 for batch in batches]).reshape(200, 15)
    assert np.allclose(is_large[:, :5].mean(), 1 / 3, atol=0.05)


@settings(max_examples=60, deadline=None)
@given(**_CASES)
def test_every_tile_is_seen_as_often_as_any_other_but_for_a_share_and_a_pass(
    sizes, n_units, share, seed
):
    group_N = groups_of(sizes, n_units, share)
    order = order_of(group_N, n_units, share, seed)
    n_steps = -(-len(group_N) // order.batch_size)
    seen_N = np.zeros(len(group_N), int)
    for step, batch in enumerate(order, start=1):
        for number, tile in batch:
            # The first number says how often the tile was seen before.
            assert number == seen_N[tile]
            seen_N[tile] += 1
        assert all(np.ptp(seen_N[unit]) <= 1 for unit in order.units)
        if step % n_steps == 0:
            for unit in order.units:
                part = step * order.batch_size * len(unit) / len(group_N)
                assert abs(seen_N[unit].sum() - part) < share


@settings(max_examples=60, deadline=None)
@given(**_CASES, start=st.integers(0, 30))
def test_resuming_at_a_step_gives_the_batches_of_an_uninterrupted_run(
    sizes, n_units, share, seed, start
):
    group_N = groups_of(sizes, n_units, share)
    whole = list(order_of(group_N, n_units, share, seed, stop=31))
    rest = order_of(group_N, n_units, share, seed, start=start, stop=31)
    assert list(rest) == whole[start:]
    assert list(rest) == whole[start:], "an order can be walked twice"
    assert len(rest) == len(whole) - start


@settings(max_examples=40, deadline=None)
@given(
    sizes=_CASES["sizes"],
    n_units=_CASES["n_units"],
    n_own=st.integers(1, 4),
    size=st.integers(1, 4),
)
def test_slices_in_order_of_rank_are_the_batch_of_one_process(sizes, n_units, n_own, size):
    share = n_own * size
    group_N = groups_of(sizes, n_units, share)
    slices = [
        order_of(group_N, n_units, share, 3, start=2, stop=9, rank=rank, size=size)
        for rank in range(size)
    ]
    whole = order_of(group_N, n_units, share, 3, start=2, stop=9)
    for batch, *parts in zip(whole, *slices, strict=True):
        assert [sample for part in parts for sample in part] == batch
        assert {len(part) for part in parts} == {n_own * n_units}


def test_passes_shares_and_seeds_have_orders_of_their_own():
    group_N = np.repeat(np.arange(4), 16)

    def walk(seed):
        return list(chain(*order_of(group_N, 2, 8, seed, stop=40)))

    def halves(seed, at):
        tiles = [tile for number, tile in walk(seed) if number == at and tile < 16]
        assert sorted(tiles) == list(range(16))
        return {frozenset(tiles[:8]), frozenset(tiles[8:])}

    assert len({*halves(0, 0), *halves(0, 1), *halves(1, 0)}) == 6


def test_rows_of_a_batch_are_mixed_since_micro_batches_have_their_own_batch_norm():
    group_N = np.repeat(np.arange(4), 16)
    (batch,) = order_of(group_N, 2, 8, 0, stop=1)
    assert len(set(group_N[[tile for _, tile in batch[:8]]].tolist())) == 2


def test_batch_that_cannot_be_divided_breaks_an_invariant():
    with pytest.raises(AssertionError, match=r"\(10, 4\)"):
        order_of(np.zeros(40, np.int64), 1, 10, 0, stop=1, rank=0, size=4)
