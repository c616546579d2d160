"""What bf16 saves in a pretraining step: bare forward, loss, backward and update, in fp32 and bf16.

Both run in turn on the same views, so that the ratio holds on a noisy machine.

Usage: python benchmarks/precision.py [--view-px 96] [--batch-size 64] [--steps 4] [--threads 1]
"""

import argparse
import time

import torch

from medsimclr.losses.nt_xent import nt_xent
from medsimclr.models.resnet import stem_for
from medsimclr.training.compute import Compute, Precision, on_device, to_images
from medsimclr.training.networks import Network, build_simclr
from medsimclr.training.plan import build_optimizer


def views_per_second(precision: Precision, *, view_px: int, batch_size: int, steps: int) -> float:
    """Run steps of ResNet-18 after one that is not counted."""
    compute = Compute(torch.device("cpu"), precision)
    network = Network(
        kind="simclr",
        depth=18,
        width=1,
        stem=stem_for(view_px),
        head_layers=3,
        view_px=view_px,
        tile_px=view_px,
        mpp=None,
    )
    model = on_device(build_simclr(network, seed=0), compute.device).train()
    optimizer = build_optimizer(model, name="lars", lr=0.1, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(0)
    shape = (2 * batch_size, view_px, view_px, 3)
    views = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    start = 0.0
    for step in range(steps + 1):
        if step == 1:
            start = time.perf_counter()
        with compute.autocast():
            z_a_ND, z_b_ND = model(to_images(views, compute.device)).chunk(2)
        loss = nt_xent(z_a_ND, z_b_ND, temperature=0.1).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return steps * len(views) / (time.perf_counter() - start)


def main() -> None:
    """Print the rate of each precision, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--view-px", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    size = {"view_px": given.view_px, "batch_size": given.batch_size, "steps": given.steps}
    ratios = []
    for _ in range(3):
        fp32, bf16 = views_per_second("fp32", **size), views_per_second("bf16", **size)
        ratios.append(bf16 / fp32)
        print(f"fp32 {fp32:.0f} views/s, bf16 {bf16:.0f} views/s, ratio {ratios[-1]:.2f}")
    print(f"median ratio {sorted(ratios)[1]:.2f}")


if __name__ == "__main__":
    main()
