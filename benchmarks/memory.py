"""What a large batch and a large encoder need: the loss, gradient caching, checkpointing.

- NT-Xent in blocks against the whole matrix of similarities.
- A step of a large batch in micro-batches against a plain step of one micro-batch.
- A step of a large encoder that recomputes activations against one that holds them.

Every figure is taken in a fresh process: the peak of its resident memory above what it held when
the work began (networks and, for the loss, projections), MB of 10^6 bytes; CPU seconds.

Usage: python benchmarks/memory.py [--parts loss micro recompute] [--threads 1]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import cast

import torch
from fresh_process import Measured, measured, value_of
from memory_loss import print_loss

from medsimclr.losses.nt_xent import nt_xent
from medsimclr.models.batch_norm import frozen_statistics
from medsimclr.models.projection_head import ProjectionHead
from medsimclr.models.resnet import Depth, ResNet
from medsimclr.models.simclr import SimCLR
from medsimclr.training.compute import Compute, on_device, to_images
from medsimclr.training.gradient_cache import accumulate_cached

_PARTS = ("loss", "micro", "recompute")
_COMPUTE = Compute(torch.device("cpu"), "fp32")
_TEMPERATURE = 0.1
_LARGEST_ERROR = 1e-5
# Rows of 128 floats in both views: projections, their gradient, and what the loss makes of them.
_COPIES_OF_PROJECTIONS = 16
# What peaks vary by from run to run, and what adding to a gradient needs for a moment.
_SLACK = 1.1
_LARGEST_RECOMPUTED_SHARE = 0.5
_LARGEST_RECOMPUTED_TIME = 1.5


def _model(depth: int, *, recompute: bool = False) -> SimCLR:
    encoder = ResNet(depth=cast(Depth, depth), recompute=recompute)
    return on_device(SimCLR(encoder, ProjectionHead(in_dim=encoder.feature_dim)), _COMPUTE.device)


def _views(batch: int, view_px: int) -> torch.Tensor:
    """Return uint8 views (2, batch, view_px, view_px, 3) in patches that tell tiles apart."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, batch, 4, 4, 3)
    patches = torch.randint(0, 200, shape, dtype=torch.uint8, generator=generator)
    views = patches.repeat_interleave(view_px // 4, dim=2).repeat_interleave(view_px // 4, dim=3)
    noise = torch.randint(0, 56, (2, *views.shape[1:]), dtype=torch.uint8, generator=generator)
    return noise.add_(views)


def _plain(model: SimCLR, views_VBHWC: torch.Tensor) -> float:
    z_a, z_b = model(to_images(views_VBHWC.flatten(0, 1), _COMPUTE.device)).chunk(2)
    loss = nt_xent(z_a, z_b, temperature=_TEMPERATURE).loss
    loss.backward()
    return loss.item()


def plain_step(depth: int, batch: int, view_px: int, recompute: bool) -> Callable[[], float]:
    """Prepare forward, loss and backward of a batch in one piece."""
    model = _model(depth, recompute=recompute)
    return lambda: _plain(model, _views(batch, view_px))


def cached_step(depth: int, batch: int, view_px: int, micro_batch: int) -> Callable[[], float]:
    """Prepare the same in micro-batches."""
    model = _model(depth)

    def work() -> float:
        step = accumulate_cached(
            model,
            _views(batch, view_px),
            micro_batch=micro_batch,
            temperature=_TEMPERATURE,
            compute=_COMPUTE,
        )
        return step.figures.loss.item()

    return work


def largest_errors(batch: int, view_px: int, micro_batch: int) -> Callable[[], tuple[float, float]]:
    """Prepare the relative errors of loss and gradient, with frozen batch norm."""

    def work() -> tuple[float, float]:
        model, views = _model(18), _views(batch, view_px)
        for _ in range(20):  # moving statistics that fit
            with torch.no_grad():
                model(to_images(views.flatten(0, 1), _COMPUTE.device))
        with frozen_statistics(model):
            loss = _plain(model, views)
        expected = [cast(torch.Tensor, parameter.grad) for parameter in model.parameters()]
        model.zero_grad()
        step = accumulate_cached(
            model,
            views,
            micro_batch=micro_batch,
            temperature=_TEMPERATURE,
            compute=_COMPUTE,
            statistics="frozen",
        )
        largest = max(float(gradient.abs().max()) for gradient in expected)
        errors = [
            float((cast(torch.Tensor, parameter.grad) - gradient).abs().max())
            for parameter, gradient in zip(model.parameters(), expected, strict=True)
        ]
        return abs(step.figures.loss.item() / loss - 1), max(errors) / largest

    return work


def print_micro(*, batch: int, micro_batch: int, view_px: int, threads: int) -> bool:
    """Print a step in micro-batches beside plain steps; return whether the limits are kept."""
    print(f"\nResNet-18, views of {view_px} px, forward, loss and backward, {threads} thread(s)")
    small, double = (
        measured(plain_step, 18, size, view_px, False, threads=threads)
        for size in (micro_batch, 2 * micro_batch)
    )
    cached = measured(cached_step, 18, batch, view_px, micro_batch, threads=threads)
    slope_mb = (double.peak_mb - small.peak_mb) / micro_batch
    at_once_mb = small.peak_mb + slope_mb * (batch - micro_batch)
    # A plain step has its gradients when its activations are gone; the second micro-batch, both.
    gradients_mb = sum(parameter.nbytes for parameter in _model(18).parameters()) / 1e6
    views_mb = batch * 2 * view_px**2 * 3 / 1e6
    projections_mb = batch * 2 * 128 * 4 * _COPIES_OF_PROJECTIONS / 1e6
    limit_mb = small.peak_mb * _SLACK + gradients_mb + views_mb + projections_mb
    kept = [cached.peak_mb <= limit_mb]
    _print_step(f"batch {micro_batch} at once", small)
    _print_step(f"batch {2 * micro_batch} at once", double)
    print(f"{f'batch {batch} at once':36} {at_once_mb:8.0f}  extrapolated from the two above")
    _print_step(f"batch {batch} by {micro_batch}", cached)
    print(
        f"against batch {micro_batch}: {cached.peak_mb / small.peak_mb:.2f}; limit {limit_mb:.0f} "
        f"MB: {_SLACK} of it, gradients {gradients_mb:.0f}, uint8 views {views_mb:.0f}, "
        f"{_COPIES_OF_PROJECTIONS} copies of the projections {projections_mb:.0f} "
        f"{'ok' if kept[0] else 'MISSED'}"
    )
    loss, gradient = value_of(
        largest_errors, micro_batch, view_px, max(micro_batch // 4, 1), threads=threads
    )
    kept.append(max(loss, gradient) <= _LARGEST_ERROR)
    print(
        f"batch {micro_batch} by {max(micro_batch // 4, 1)} against at once, batch norm frozen: "
        f"loss {loss:.1e}, gradient {gradient:.1e} of its largest entry, limit "
        f"{_LARGEST_ERROR:.0e} {'ok' if kept[1] else 'MISSED'}"
    )
    return all(kept)


def recompute_time(depth: int, batch: int, view_px: int, rounds: int) -> Callable[[], float]:
    """Prepare the CPU time of a recomputing step over that of a holding one, median of rounds."""
    model, views = _model(depth), _views(batch, view_px)

    def seconds(recompute: bool) -> float:
        model.encoder.recompute = recompute
        model.zero_grad()
        start = time.process_time()
        _plain(model, views)
        return time.process_time() - start

    def work() -> float:
        seconds(recompute=False)  # the first step is slower
        return statistics.median(seconds(True) / seconds(False) for _ in range(rounds))

    return work


def print_recompute(*, depth: int, batch: int, view_px: int, rounds: int, threads: int) -> bool:
    """Print a step that recomputes beside one that holds; return whether the limits are kept."""
    print(f"\nResNet-{depth}, batch {batch}, views of {view_px} px, {threads} thread(s)")
    held, recomputed = (
        measured(plain_step, depth, batch, view_px, recompute, threads=threads)
        for recompute in (False, True)
    )
    ratio = value_of(recompute_time, depth, batch, view_px, rounds, threads=threads)
    _print_step("activations held", held)
    _print_step("activations recomputed", recomputed)
    memory = recomputed.peak_mb / held.peak_mb
    is_kept = memory <= _LARGEST_RECOMPUTED_SHARE and ratio <= _LARGEST_RECOMPUTED_TIME
    print(
        f"memory {memory:.2f}, limit {_LARGEST_RECOMPUTED_SHARE}; time {ratio:.2f}, limit "
        f"{_LARGEST_RECOMPUTED_TIME} {'ok' if is_kept else 'MISSED'}; loss differs by "
        f"{abs(recomputed.value - held.value):.0e}"
    )
    return is_kept


def _print_step(name: str, step: Measured) -> None:
    print(f"{name:36} {step.peak_mb:8.0f} MB {step.cpu_seconds:8.1f} s")


def main() -> None:
    """Print the parts asked for; exit 1 where a limit is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--pairs", nargs="+", type=int, default=[2, 16, 64, 128, 256, 384, 512, 1024, 2048, 4096]
    )
    parser.add_argument("--largest", type=int, default=16_384, help="pairs, in blocks only")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--micro-batch", type=int, default=64)
    parser.add_argument("--view-px", type=int, default=64, help="of the step in micro-batches")
    parser.add_argument("--depth", type=int, default=152, help="of the encoder that recomputes")
    parser.add_argument("--depth-batch", type=int, default=64)
    parser.add_argument("--depth-view-px", type=int, default=64)
    given = parser.parse_args()
    threads, kept = given.threads, []
    if "loss" in given.parts:
        sizes = {"sizes": given.pairs, "largest": given.largest, "rounds": given.rounds}
        kept.append(print_loss(**sizes, threads=threads))
    if "micro" in given.parts:
        sizes = {"batch": given.batch, "micro_batch": given.micro_batch, "view_px": given.view_px}
        kept.append(print_micro(**sizes, threads=threads))
    if "recompute" in given.parts:
        sizes = {"depth": given.depth, "batch": given.depth_batch, "view_px": given.depth_view_px}
        kept.append(print_recompute(**sizes, rounds=min(given.rounds, 3), threads=threads))
    sys.exit(not all(kept))


if __name__ == "__main__":
    main()
