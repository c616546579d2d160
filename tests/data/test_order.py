from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsimclr.data.order import BatchOrder

_SIZES = {
    "n_tiles": st.integers(1, 40),
    "batch_size": st.integers(1, 50),
    "seed": st.integers(0, 99),
}


def order_of(n_tiles, batch_size, seed, *, start, stop, **place):
    return BatchOrder(
        n_tiles=n_tiles,
        batch_size=batch_size,
        seed=seed,
        start_step=start,
        stop_step=stop,
        **place,
    )


@settings(max_examples=60, deadline=None)
@given(**_SIZES)
def test_every_epoch_covers_every_tile_once(n_tiles, batch_size, seed):
    n_steps = -(-3 * n_tiles // batch_size)
    order = order_of(n_tiles, batch_size, seed, start=0, stop=n_steps)
    samples = [sample for batch in order for sample in batch][: 3 * n_tiles]
    assert [epoch for epoch, _ in samples] == np.repeat([0, 1, 2], n_tiles).tolist()
    assert set(Counter(samples).values()) == {1}
    assert {position for _, position in samples} == set(range(n_tiles))


@settings(max_examples=60, deadline=None)
@given(**_SIZES, start=st.integers(0, 12))
def test_resuming_at_a_step_gives_the_batches_of_an_uninterrupted_run(
    n_tiles, batch_size, seed, start
):
    whole = list(order_of(n_tiles, batch_size, seed, start=0, stop=13))
    rest = order_of(n_tiles, batch_size, seed, start=start, stop=13)
    assert list(rest) == whole[start:]
    assert list(rest) == whole[start:], "an order can be walked twice"
    assert len(rest) == len(whole) - start
    assert all(len(batch) == batch_size for batch in whole)


def test_epochs_and_seeds_have_orders_of_their_own():
    def tiles(seed):
        batches = order_of(100, 100, seed, start=0, stop=2)
        return [[position for _, position in batch] for batch in batches]

    first, second = tiles(0)
    assert first != second
    assert first != sorted(first)
    assert tiles(1)[0] not in (first, second)


@settings(max_examples=60, deadline=None)
@given(
    n_tiles=st.integers(1, 40),
    n_own=st.integers(1, 12),
    size=st.integers(1, 5),
    start=st.integers(0, 5),
)
def test_slices_in_order_of_rank_are_the_batch_of_one_process(n_tiles, n_own, size, start):
    def batches(**place):
        return list(order_of(n_tiles, n_own * size, 3, start=start, stop=7, **place))

    slices = [batches(rank=rank, size=size) for rank in range(size)]
    for whole, *parts in zip(batches(), *slices, strict=True):
        assert [sample for part in parts for sample in part] == whole
        assert {len(part) for part in parts} == {n_own}


def test_batch_that_cannot_be_divided_breaks_an_invariant():
    with pytest.raises(AssertionError, match=r"\(10, 4\)"):
        order_of(40, 10, 0, start=0, stop=1, rank=0, size=4)
