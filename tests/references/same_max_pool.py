"""Max-pool 3x3/2 with TensorFlow's SAME padding, window by window.

Padding of an axis of n values: max((ceil(n / 2) - 1) · 2 + 3 - n, 0), the smaller half before.
"""

import math

__all__ = ["same_max_pool_loops"]


def same_max_pool_loops(rows: list[list[float]]) -> list[list[float]]:
    height, width = len(rows), len(rows[0])
    pooled = []
    for top in _starts(height):
        pooled.append([])
        for left in _starts(width):
            window = [
                rows[y][x]
                for y in range(max(top, 0), min(top + 3, height))
                for x in range(max(left, 0), min(left + 3, width))
            ]
            pooled[-1].append(max(window))
    return pooled


def _starts(size: int) -> list[int]:
    n_out = math.ceil(size / 2)
    before = max((n_out - 1) * 2 + 3 - size, 0) // 2
    return [2 * i - before for i in range(n_out)]
