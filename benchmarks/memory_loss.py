"""NT-Xent in blocks against the whole matrix: memory, exactness, time by size."""

import statistics
import time
from collections.abc import Callable

import torch
from fresh_process import measured, value_of
from torch.nn import functional as F

from medsimclr.losses.nt_xent import Method, nt_xent

__all__ = ["LIMIT_MB", "print_loss", "projections", "run_loss"]

LIMIT_MB = 400
_LARGEST_ERROR = 1e-5
_LARGEST_RATIO = 1.05
_DIM = 128
_TEMPERATURE = 0.1
_REFERENCE_ROWS = 256
_SECONDS_OF_A_ROUND = 0.1


def projections(n_pairs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the related views of both sides, float32, as leaves."""
    generator = torch.Generator().manual_seed(0)
    z_a = torch.randn(n_pairs, _DIM, generator=generator)
    z_b = z_a + torch.randn(n_pairs, _DIM, generator=generator)
    return z_a.requires_grad_(), z_b.requires_grad_()


def run_loss(n_pairs: int, method: Method) -> Callable[[], None]:
    """Prepare forward and backward."""
    z_a, z_b = projections(n_pairs)
    return lambda: nt_xent(z_a, z_b, temperature=_TEMPERATURE, method=method).loss.backward()


def _largest_error(n_pairs: int) -> Callable[[], float]:
    """Prepare the largest error of the gradient in blocks, relative to its largest entry."""

    def work() -> float:
        z_a, z_b = projections(n_pairs)
        nt_xent(z_a, z_b, temperature=_TEMPERATURE, method="blocks").loss.backward()
        assert z_a.grad is not None
        assert z_b.grad is not None
        exact = _gradient_by_rows(torch.cat([z_a, z_b]).detach().double())
        ours = torch.cat([z_a.grad, z_b.grad])
        return float((ours - exact).abs().max() / exact.abs().max())

    return work


def _gradient_by_rows(z_RD: torch.Tensor) -> torch.Tensor:
    """Return the gradient in float64, adding up the cross-entropies of a few anchors at a time."""
    z_RD.requires_grad_()
    n_rows = len(z_RD)
    for first in range(0, n_rows, _REFERENCE_ROWS):
        unit_RD = F.normalize(z_RD, dim=1)
        anchor_A = torch.arange(first, min(first + _REFERENCE_ROWS, n_rows))
        logits_AR = unit_RD[anchor_A] @ unit_RD.T / _TEMPERATURE
        itself_AR = anchor_A[:, None] == torch.arange(n_rows)
        partner_A = (anchor_A + n_rows // 2) % n_rows
        logits_AR = logits_AR.masked_fill(itself_AR, -torch.inf)
        (F.cross_entropy(logits_AR, partner_A, reduction="sum") / (n_rows // 2)).backward()
    assert z_RD.grad is not None
    return z_RD.grad


def _ratios(n_pairs: int, rounds: int) -> Callable[[], tuple[float, float]]:
    """Prepare the CPU-time ratios to whole of auto and of blocks, medians over rounds."""

    def work() -> tuple[float, float]:
        methods: tuple[Method, ...] = ("whole", "auto", "blocks")
        runs = {method: run_loss(n_pairs, method) for method in methods}
        n_calls = max(1, round(_SECONDS_OF_A_ROUND / _seconds(runs["whole"], 1)))
        spent = [{m: _seconds(runs[m], n_calls) for m in methods} for _ in range(rounds)]
        return (
            statistics.median(s["auto"] / s["whole"] for s in spent),
            statistics.median(s["blocks"] / s["whole"] for s in spent),
        )

    return work


def _seconds(run: Callable[[], None], n_calls: int) -> float:
    start = time.process_time()
    for _ in range(n_calls):
        run()
    return time.process_time() - start


def print_loss(*, sizes: list[int], largest: int, rounds: int, threads: int) -> bool:
    """Print the table; return whether the limits are kept.

    Args:
        sizes: pairs at which whole is held; the last gives its prediction at the largest.
        largest: pairs of which only blocks are held.
        rounds: of whole, auto and blocks in turn.
        threads: of every process.
    """
    print(f"NT-Xent, D {_DIM}, float32, forward and backward, {threads} thread(s)")
    print(
        f"{'pairs':>7} {'whole MB':>10} {'blocks MB':>10} {'auto/whole':>11} {'blocks/whole':>13}"
    )
    kept = []
    whole_mb = 0.0
    for n_pairs in sizes:
        whole_mb = measured(run_loss, n_pairs, "whole", threads=threads).peak_mb
        blocks_mb = measured(run_loss, n_pairs, "blocks", threads=threads).peak_mb
        auto, blocks = value_of(_ratios, n_pairs, rounds, threads=threads)
        kept.append(auto <= _LARGEST_RATIO)
        print(
            f"{n_pairs:7} {whole_mb:10.0f} {blocks_mb:10.0f} {auto:11.2f} {blocks:12.2f}  "
            f"limit {_LARGEST_RATIO} (auto) {'ok' if kept[-1] else 'MISSED'}"
        )
    predicted_mb = whole_mb * (largest / sizes[-1]) ** 2
    blocks_mb, cpu_seconds, _ = measured(run_loss, largest, "blocks", threads=threads)
    kept.append(blocks_mb < LIMIT_MB)
    print(
        f"{largest:7} {predicted_mb:9.0f}* {blocks_mb:10.0f}  limit {LIMIT_MB} MB "
        f"{'ok' if kept[-1] else 'MISSED'}; {cpu_seconds:.1f} s of CPU. "
        f"* as {sizes[-1]} pairs, by the square"
    )
    error = value_of(_largest_error, largest, threads=threads)
    kept.append(error <= _LARGEST_ERROR)
    print(
        f"{largest:7} gradient in blocks against float64: {error:.1e} of its largest entry, limit "
        f"{_LARGEST_ERROR:.0e} {'ok' if kept[-1] else 'MISSED'}"
    )
    return all(kept)
