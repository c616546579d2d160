"""Train lightly's SimCLR in its own environment, on views that this process draws and pipes to it.

The views, their order and the encoder's starting weights are those of our own run of the same
configuration; see rivals/lightly_simclr_training.py for what is lightly's.
"""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import torch

from medsimclr.augment.discovery import load_policy
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.data.order import BatchOrder
from medsimclr.data.tile_index import TileIndex
from medsimclr.data.views import TileViews, load_batches
from medsimclr.models.resnet import ResNet, stem_for

__all__ = ["LIGHTLY_BASE_LR", "Rival", "starting_encoder", "train_lightly"]

LIGHTLY_BASE_LR = 0.12
"""Times batch / 128: twice that of lightly's CIFAR-10 benchmark, the best of four trials here."""
_SCRIPT = Path(__file__).parent / "rivals" / "lightly_simclr_training.py"


@dataclass(frozen=True)
class Rival:
    """How lightly trains."""

    python: str
    """Interpreter of its environment."""
    precision: Literal["fp32", "bf16"]
    base_lr: float


def starting_encoder(config: PretrainConfig) -> ResNet:
    """Return the encoder with the weights that our run of this configuration starts with."""
    generator = torch.Generator().manual_seed(config.seed)
    return ResNet(depth=config.depth, stem=_stem(config), generator=generator)


def train_lightly(
    config: PretrainConfig, rival: Rival, *, tiles: TileIndex, n_steps: int, weights: Path
) -> dict[str, Any]:
    """Train for n_steps and save the encoder's weights.

    Args:
        config: our configuration, for store, views, order, encoder and batch size.
        rival: what is lightly's.
        tiles: the training tiles.
        n_steps: steps, in which the cosine falls to 0.
        weights: the file to write.

    Returns:
        "step_cpu_seconds" of both processes, for all steps but the first; "losses", "versions".

    Raises:
        SystemExit: lightly's process failed; its own words are on stderr.
    """
    settings = {
        "steps": n_steps,
        "batch_size": config.batch_size,
        "view_px": config.view_px,
        "depth": config.depth,
        "stem": _stem(config),
        "seed": config.seed,
        "base_lr": rival.base_lr,
        "precision": rival.precision,
        "out": str(weights),
    }
    process = subprocess.Popen(
        [rival.python, str(_SCRIPT), json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        drawn = _feed(process.stdin, config, tiles, n_steps)
    except BrokenPipeError:
        drawn = []  # it has ended; its exit status says so below
    said, _ = process.communicate()
    if process.returncode or not drawn:
        raise SystemExit(f"{rival.python} must train lightly's SimCLR; it said why above.")
    report: dict[str, Any] = json.loads(said.splitlines()[-1])
    pairs = zip(drawn[1:], report["step_cpu_seconds"], strict=True)
    return {**report, "step_cpu_seconds": [ours + its for ours, its in pairs]}


def _stem(config: PretrainConfig) -> Literal["standard", "small"]:
    return stem_for(config.view_px) if config.stem == "auto" else config.stem


def _feed(pipe: IO[bytes], config: PretrainConfig, tiles: TileIndex, n_steps: int) -> list[float]:
    """Write the views of every step, as our own run draws them; return CPU seconds of each."""
    policy = load_policy(config.policy, options=config.policy_options)
    views = TileViews(
        config.store, tiles, kind="contrastive", policy=policy, view_px=config.view_px,
        seed=config.seed,
    )  # fmt: skip
    order = BatchOrder(
        n_tiles=len(tiles), batch_size=config.batch_size, seed=config.seed, start_step=0,
        stop_step=n_steps,
    )  # fmt: skip
    seconds, start = [], time.process_time()
    for views_VBHWC, _ in load_batches(views, order, n_workers=0):
        pipe.write(views_VBHWC.numpy().tobytes())
        now = time.process_time()
        seconds.append(now - start)
        start = now
    pipe.flush()
    return seconds
