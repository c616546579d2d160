"""Layers as TensorFlow defines them, window by window, on NHWC in float64.

Padding of an axis of n values for a window k and stride s:
    SAME: max((ceil(n / s) - 1) · s + k - n, 0), the smaller half before;
    fixed, then VALID: k - 1 whatever n and s are, the smaller half before.

A window's offset is a slice of the padded map, so a convolution is a sum over the k·k offsets of a
matrix product, and a pool their maximum or mean. Nothing of torch.nn or torch.nn.functional.
"""

import math
from collections.abc import Iterator

import torch

__all__ = ["average_pool", "batch_norm", "convolution", "fixed_padding", "max_pool", "same_padding"]

_EPS = 1e-5
_DECAY = 0.9


def same_padding(n: int, *, k: int, s: int) -> tuple[int, int]:
    total = max((math.ceil(n / s) - 1) * s + k - n, 0)
    return total // 2, total - total // 2


def fixed_padding(k: int) -> tuple[int, int]:
    return (k - 1) // 2, k - 1 - (k - 1) // 2


def convolution(x_BHWC: torch.Tensor, kernel_kkCD: torch.Tensor, *, s: int) -> torch.Tensor:
    """Fixed padding and VALID if s > 1, else SAME."""
    k = kernel_kkCD.shape[0]
    x_BHWC = _pad(x_BHWC, k=k, s=s, is_same=s == 1, fill=0.0)
    windows = list(_windows(x_BHWC, k=k, s=s))
    offsets = list(kernel_kkCD.flatten(0, 1))
    out = windows[0] @ offsets[0]
    for window_BHWC, kernel_CD in zip(windows[1:], offsets[1:], strict=True):
        out = out + window_BHWC @ kernel_CD
    return out


def max_pool(x_BHWC: torch.Tensor, *, k: int, s: int) -> torch.Tensor:
    """SAME."""
    padded = _pad(x_BHWC, k=k, s=s, is_same=True, fill=-math.inf)
    return torch.stack(list(_windows(padded, k=k, s=s))).amax(dim=0)


def average_pool(x_BHWC: torch.Tensor, *, k: int, s: int) -> torch.Tensor:
    """SAME, the padding left out of the mean, if s = 1, else fixed padding of zeros and VALID."""
    if s > 1:
        padded = _pad(x_BHWC, k=k, s=s, is_same=False, fill=0.0)
        return torch.stack(list(_windows(padded, k=k, s=s))).mean(dim=0)
    padded = _pad(x_BHWC, k=k, s=s, is_same=True, fill=0.0)
    is_inside = _pad(torch.ones_like(x_BHWC), k=k, s=s, is_same=True, fill=0.0)
    count = torch.stack(list(_windows(is_inside, k=k, s=s))).sum(dim=0)
    return torch.stack(list(_windows(padded, k=k, s=s))).sum(dim=0) / count


def batch_norm(
    x: torch.Tensor, variables: dict[str, torch.Tensor], layer: str, *, moved: dict | None
) -> torch.Tensor:
    """Over all axes but the last; with moving statistics where `moved` is None, else fill it."""
    mean, variance = variables[f"{layer}/moving_mean:0"], variables[f"{layer}/moving_variance:0"]
    if moved is not None:
        axes = tuple(range(x.dim() - 1))
        old_mean, old_variance = mean, variance
        mean = x.mean(dim=axes)
        variance = ((x - mean) ** 2).mean(dim=axes)
        moved[f"{layer}/moving_mean:0"] = _DECAY * old_mean + (1 - _DECAY) * mean
        moved[f"{layer}/moving_variance:0"] = _DECAY * old_variance + (1 - _DECAY) * variance
    out = (x - mean) / (variance + _EPS).sqrt() * variables[f"{layer}/gamma:0"]
    return out + variables.get(f"{layer}/beta:0", 0.0)


def _pad(x_BHWC: torch.Tensor, *, k: int, s: int, is_same: bool, fill: float) -> torch.Tensor:
    batch, height, width, channels = x_BHWC.shape
    top, bottom = same_padding(height, k=k, s=s) if is_same else fixed_padding(k)
    left, right = same_padding(width, k=k, s=s) if is_same else fixed_padding(k)
    shape = (batch, top + height + bottom, left + width + right, channels)
    padded = torch.full(shape, fill, dtype=x_BHWC.dtype)
    padded[:, top : top + height, left : left + width] = x_BHWC
    return padded


def _windows(padded_BHWC: torch.Tensor, *, k: int, s: int) -> Iterator[torch.Tensor]:
    """Yield for each offset, row by row, its value in every window."""
    height, width = ((n - k) // s * s + 1 for n in padded_BHWC.shape[1:3])
    for y in range(k):
        for x in range(k):
            yield padded_BHWC[:, y : y + height : s, x : x + width : s]
