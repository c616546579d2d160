"""Batches of few patients (or slides): stain, which tells patients apart, tells no negatives apart.

A batch of B tiles holds B / K tiles, its shares, of each of K units. A unit is a patient; patients
with fewer tiles than a share are put together, and one with too many for one share a batch is cut
in parts. As in `order`, batches are a pure function of (seed, step), and processes take slices.

What holds, of N ≥ 3 B tiles and rounds of ⌈N / B⌉ steps, which is an epoch and less than a step:

- A unit's tiles are walked through pass after pass, each pass in an order of its own. So two tiles
  of a unit have been seen equally often at any time, but for one.
- After r rounds a unit of n tiles has given r ⌈N / B⌉ K n / N shares, rounded up or down: its tiles
  have been seen as often as those of any other unit, but for less than a share and a pass.
- A batch has K units and no tile twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medsimclr.data.order import OwnRows, Sample

__all__ = ["UnitOrder", "form_units"]

Ints = npt.NDArray[np.int64]
# One seed gives several streams of random numbers; these keep them apart.
_ROUND, _PASS, _PARTS = 1, 2, 3


def form_units(group_N: Ints, *, n_units: int, batch_size: int, seed: int) -> list[Ints]:
    """Put small groups together and cut large ones, so that each can give its shares.

    Args:
        group_N: the group of every tile, from 0.
        n_units: units a batch, K; divides batch_size.
        batch_size: at most a third of the tiles.
        seed: decides how a large group is cut.

    Returns:
        For each unit the positions of its tiles.
    """
    n_tiles, share = len(group_N), batch_size // n_units
    assert n_tiles >= 3 * batch_size, (n_tiles, batch_size)
    assert batch_size % n_units == 0, (batch_size, n_units)
    starts = np.cumsum(np.bincount(group_N))[:-1]
    groups = np.split(np.argsort(group_N, kind="stable"), starts)
    units: list[Ints] = []
    held: list[Ints] = []
    n_held = 0
    for tiles in sorted(groups, key=len):
        held.append(tiles)
        n_held += len(tiles)
        if n_held >= share:
            units.append(np.concatenate(held))
            held, n_held = [], 0
    units[-1] = np.concatenate([units[-1], *held])
    # Rounding gives a unit up to two shares a round more than its part: one round has room for it.
    n_steps = _round_steps(n_tiles, batch_size)
    most = n_tiles * (n_steps - 1) // (n_steps * n_units)
    rng = np.random.default_rng([seed, _PARTS])
    return [
        part
        for unit in units
        for part in (
            np.array_split(rng.permutation(unit), -(-len(unit) // most))
            if len(unit) > most
            else [unit]
        )
    ]


def _round_steps(n_tiles: int, batch_size: int) -> int:
    return -(-n_tiles // batch_size)


@dataclass(frozen=True, kw_only=True)
class UnitOrder(OwnRows):
    """One process's rows of the batches from one step to another; a torch batch sampler.

    The first number of a sample is its unit's pass: no tile has the same twice.

    Args:
        units: as `form_units` returns them.
        n_units: units a batch.
    """

    units: list[Ints]
    n_units: int

    def __iter__(self) -> Iterator[list[Sample]]:
        n_tiles = sum(map(len, self.units))
        n_steps = _round_steps(n_tiles, self.batch_size)
        n_own = self.batch_size // self.size
        own = slice(self.rank * n_own, (self.rank + 1) * n_own)
        passes: dict[int, tuple[int, Ints]] = {}
        step = self.start_step - self.start_step % n_steps
        while step < self.stop_step:
            for shares, rows_B in self._round(step // n_steps, n_steps):
                if self.start_step <= step < self.stop_step:
                    batch = [
                        sample
                        for unit, number in shares
                        for sample in self._share(unit, number, passes)
                    ]
                    yield [batch[row] for row in rows_B[own]]
                step += 1

    def _round(self, number: int, n_steps: int) -> Iterator[tuple[list[tuple[int, int]], Ints]]:
        """Draw the steps of a round: of each unit which of its shares, and an order of the rows.

        Rows are mixed since batch norm in micro-batches would otherwise tell patients apart.
        """
        rng = np.random.default_rng([self.seed, _ROUND, number])
        next_U = self._shares_given(number * n_steps)
        left_U = self._shares_given((number + 1) * n_steps) - next_U
        for n_left in range(n_steps, 0, -1):
            # The more shares are left, the likelier; whoever has one for each step must come now.
            time_U = rng.standard_exponential(len(left_U)) / np.maximum(left_U, 1)
            time_U[left_U == 0] = np.inf
            time_U[left_U >= n_left] = -1
            chosen_K = np.sort(np.argpartition(time_U, self.n_units - 1)[: self.n_units])
            shares = list(zip(chosen_K.tolist(), next_U[chosen_K].tolist(), strict=True))
            next_U[chosen_K] += 1
            left_U[chosen_K] -= 1
            assert 0 <= left_U.min() <= left_U.max() < n_left, (left_U, n_left)
            yield shares, rng.permutation(self.batch_size)

    def _shares_given(self, n_steps: int) -> Ints:
        """Apportion the shares of the first steps to the units, by largest remainders.

        A unit's part of a round is one share or more, but it has none of a round before which its
        sum was rounded up and after which it is rounded down.
        """
        size_U = np.array([len(tiles) for tiles in self.units])
        n_shares = n_steps * self.n_units
        given_U, rest_U = np.divmod(n_shares * size_U, size_U.sum())
        n_over = n_shares - given_U.sum()
        given_U[np.argsort(-rest_U, kind="stable")[:n_over]] += 1
        return given_U

    def _share(
        self, unit: int, number: int, passes: dict[int, tuple[int, Ints]]
    ) -> Iterator[Sample]:
        """Return a share's tiles with their pass; `passes` keeps the newest of each unit."""
        share, size = self.batch_size // self.n_units, len(self.units[unit])
        start, stop = number * share, (number + 1) * share
        for at in range(start // size, (stop - 1) // size + 1):
            if unit not in passes or passes[unit][0] != at:
                passes[unit] = at, self._pass(unit, at, share)
            positions = passes[unit][1][max(start - at * size, 0) : stop - at * size]
            yield from ((at, tile) for tile in self.units[unit][positions].tolist())

    def _pass(self, unit: int, at: int, share: int) -> Ints:
        """Return the order of a unit's pass, such that no share across two passes repeats a tile.

        A unit of less than two shares always has one order: most of it is in every share anyway.
        """
        size = len(self.units[unit])

        def drawn(number: int) -> Ints:
            return np.random.default_rng([self.seed, _PASS, unit, number]).permutation(size)

        if size < 2 * share:
            return drawn(0)
        order = drawn(at)
        n_before = at * size % share
        # Only the first share of a pass is changed, and it has no other end than the drawn one.
        is_late = np.isin(order[:share], drawn(at - 1)[size - n_before :]) if n_before else None
        if is_late is not None:
            order[:share] = np.concatenate([order[:share][~is_late], order[:share][is_late]])
        return order
