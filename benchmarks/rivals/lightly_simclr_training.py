"""Train lightly's SimCLR on views that come through a pipe; saves the encoder, prints JSON.

Runs in lightly's own environment, which `pip install --no-deps -e .` gave this package: the
encoder is ours, with torch's batch norm in place of ours, and starts with the weights that our own
run of the same seed starts with. Head, loss and optimiser are lightly's: SimCLRProjectionHead,
NTXentLoss at its own temperature 0.5, and SGD with momentum 0.9, weight decay 5e-4 and a cosine, as
in its CIFAR-10 benchmark (docs/source/getting_started/benchmarks/cifar10_benchmark.py, commit
e8d317f). There the rate is 0.06 * batch / 128 and falls once an epoch, of which a run has hundreds;
here it falls with every step. As there, each view passes the encoder by itself. Images are in
[0, 1] as ours are, without the mean and deviation of ImageNet: the encoder's first batch norm does
as much.

stdin: for each step the views as bytes, uint8 (2, B, P, P, 3).
stdout: {"step_cpu_seconds": [...], "losses": [...], "versions": {...}}

Usage: python lightly_simclr_training.py SETTINGS
       a JSON object: steps, batch_size, view_px, depth, stem, seed, base_lr, precision, out
"""

import json
import sys
import time
from itertools import pairwise
from typing import Any

import lightly
import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from torch_batch_norm import use_torch_batch_norm

from medsimclr.models.resnet import ResNet


def main() -> None:
    """Train for the steps asked for."""
    given = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    encoder = ResNet(
        depth=given["depth"],
        stem=given["stem"],
        generator=torch.Generator().manual_seed(given["seed"]),
    )
    use_torch_batch_norm(encoder)
    torch.manual_seed(given["seed"])  # lightly's layers draw from the global generator
    head = SimCLRProjectionHead(encoder.feature_dim, encoder.feature_dim, 128)
    marks, losses = _train(torch.nn.Sequential(encoder, head).train(), given)
    torch.save(encoder.state_dict(), given["out"])
    seconds = [end - start for start, end in pairwise(marks)]
    versions = {"lightly": lightly.__version__, "torch": torch.__version__}
    print(json.dumps({"step_cpu_seconds": seconds, "losses": losses, "versions": versions}))


def _train(model: torch.nn.Module, given: dict[str, Any]) -> tuple[list[float], list[float]]:
    criterion = NTXentLoss()
    lr = given["base_lr"] * given["batch_size"] / 128
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, given["steps"])
    marks, losses = [], []
    for _ in range(given["steps"]):
        view_a, view_b = _read_views(given["batch_size"], given["view_px"])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=given["precision"] == "bf16"):
            z_a, z_b = model(view_a), model(view_b)
        loss = criterion(z_a.float(), z_b.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        marks.append(time.process_time())
    return marks, losses


def _read_views(batch_size: int, view_px: int) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (2, batch_size, view_px, view_px, 3)
    content = sys.stdin.buffer.read(2 * batch_size * view_px * view_px * 3)
    views = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(shape)
    # Contiguous, as torchvision's ToTensor gives it.
    images = views.permute(0, 1, 4, 2, 3).contiguous().float().div_(255)
    return images[0], images[1]


if __name__ == "__main__":
    main()
