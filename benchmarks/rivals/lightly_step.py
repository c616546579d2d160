"""Train steps of lightly's SimCLR on views in memory, a few for each line on stdin.

Runs in lightly's own environment, which also holds medsimclr without its dependencies: the encoder
is our ResNet with torch.nn.BatchNorm2d for our batch norm. The rest is as in its documentation
(docs/source/examples/simclr.rst): SimCLRProjectionHead, NTXentLoss and SGD, each view through the
network by itself (which took 7 % less time than both joined), float32 images in torchvision's
layout, memory as the C library hands it out.

stdin: lines with a number of steps. stdout: for each a line {"wall_s": ..., "cpu_s": ...}, seconds
a step, after one line with the versions.

Usage: python lightly_step.py DEPTH VIEW_PX BATCH_SIZE THREADS
"""

import argparse
import json
import sys
import time

import lightly
import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from torch import nn
from torch_batch_norm import use_torch_batch_norm

from medsimclr.models.resnet import ResNet, stem_for

_WARM_UP_STEPS = 2


def main() -> None:
    """Do as many steps as each line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("depth", "view_px", "batch_size", "threads"):
        parser.add_argument(name, type=int)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    encoder = ResNet(depth=given.depth, stem=stem_for(given.view_px))
    use_torch_batch_norm(encoder)
    head = SimCLRProjectionHead(encoder.feature_dim, encoder.feature_dim, 128)
    model = nn.Sequential(encoder, head).train()
    criterion = NTXentLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
    view_px = given.view_px
    view_a, view_b = torch.rand(2, given.batch_size, 3, view_px, view_px)

    def steps(n_steps: int) -> None:
        for _ in range(n_steps):
            loss = criterion(model(view_a), model(view_b))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    steps(_WARM_UP_STEPS)
    print(json.dumps(f"lightly {lightly.__version__}, torch {torch.__version__}"), flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        steps(int(line))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps({"wall_s": wall / int(line), "cpu_s": cpu / int(line)}), flush=True)


if __name__ == "__main__":
    main()
