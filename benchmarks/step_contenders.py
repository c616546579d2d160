"""What `step.py` compares: our loop on a store, our bare step in memory, lightly's step.

All give seconds a step, wall and CPU, of few steps at a time, so that they can take turns.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from cpu_budget import EnoughStepsError
from process_tree import tree_cpu_seconds

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.policy import apply_seeded
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.data.tile_index import index_tiles
from medsimclr.data.views import TileViews
from medsimclr.losses.nt_xent import nt_xent
from medsimclr.models.resnet import stem_for
from medsimclr.store.reader import TileStore
from medsimclr.training.compute import choose_compute, on_device, to_images
from medsimclr.training.networks import Network, build_simclr
from medsimclr.training.plan import build_optimizer
from medsimclr.training.pretrain import pretrain

__all__ = [
    "Feeding",
    "InMemory",
    "Lightly",
    "PerStep",
    "feeding",
    "python_of",
    "train_from_store",
]

_WARM_UP_STEPS = 2
_PREFETCHED = 4


@dataclass(frozen=True)
class PerStep:
    """Seconds of one step, the mean of a few in a row."""

    wall_s: float
    cpu_s: float
    """User and system seconds of all threads of the process that trains."""
    worker_cpu_s: float = 0.0
    """The same of its loader processes."""


class InMemory:
    """Bare forward, loss, backward and update on float images that lie in memory ready.

    No reading, no conversion, no gradient norm, no look at the loss, no log. The images are views
    of the store's first tiles.
    """

    def __init__(self, config: PretrainConfig) -> None:
        self._compute = choose_compute(config)
        network = Network(
            kind="simclr",
            depth=config.depth,
            width=config.width,
            stem=stem_for(config.view_px),
            head_layers=config.head_layers,
            view_px=config.view_px,
            tile_px=config.view_px,
            mpp=None,
        )
        self._model = on_device(build_simclr(network, seed=0), self._compute.device).train()
        self._optimizer = build_optimizer(
            self._model,
            name=config.optimizer,
            lr=config.base_lr,
            weight_decay=config.weight_decay,
        )
        views_VBHWC, _ = _views(config).__getitems__([(0, b) for b in range(config.batch_size)])
        self._image_BCHW = to_images(views_VBHWC.flatten(0, 1), self._compute.device)
        self._temperature = config.temperature
        self.run(_WARM_UP_STEPS)

    def run(self, n_steps: int) -> PerStep:
        """Do some steps."""
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(n_steps):
            with self._compute.autocast():
                z_a_ND, z_b_ND = self._model(self._image_BCHW).chunk(2)
            loss = nt_xent(z_a_ND, z_b_ND, temperature=self._temperature).loss
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return PerStep(wall / n_steps, cpu / n_steps)


class Lightly:
    """lightly's SimCLR in a process of its own environment, which waits between turns.

    Attributes:
        versions: of lightly and its torch.
    """

    def __init__(self, python: Path, config: PretrainConfig) -> None:
        here = Path(__file__).parent
        sizes = (config.depth, config.view_px, config.batch_size, torch.get_num_threads())
        self._process = subprocess.Popen(
            [str(python), str(here / "rivals" / "lightly_step.py"), *map(str, sizes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.versions: str = self._answer()

    def run(self, n_steps: int) -> PerStep:
        """Do some steps."""
        assert self._process.stdin is not None
        print(n_steps, file=self._process.stdin, flush=True)
        return PerStep(**self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("lightly's process failed; its own words are above.")
        return json.loads(line)


@dataclass(frozen=True)
class Feeding:
    """CPU seconds that one step's batch costs before it is trained on."""

    read_cpu_s: float
    """Reading its tiles from the store and decoding them."""
    draw_cpu_s: float
    """Drawing two views of each: the augmentation itself."""


def feeding(config: PretrainConfig, *, first_tile: int) -> Feeding:
    """Read the tiles of one batch and draw their views, in this thread."""
    store = TileStore(config.store)
    index = index_tiles(store)
    positions = [(first_tile + b) % len(index) for b in range(config.batch_size)]
    policy = load_policy(config.policy, options=config.policy_options)
    compose = policy.contrastive(config.view_px)
    start = time.thread_time()
    tiles_BHW3 = store.read_tiles(
        index.slide_N[positions].tolist(), index.row_N[positions].tolist()
    )
    read = time.thread_time()
    for position, tile_HW3 in zip(positions, tiles_BHW3, strict=True):
        for view in range(2):
            apply_seeded(compose, tile_HW3, seed=(config.seed, 0, position, view))
    return Feeding(read - start, time.thread_time() - read)


def train_from_store(
    config: PretrainConfig, *, n_rounds: int, n_steps: int, others: Callable[[], None]
) -> list[PerStep]:
    """Run `pretrain` itself, from the store to its log, and time some steps of each round.

    While the others have their turn the loader workers go on and fill their queue; so many steps
    that the queue is as it always is pass before the clock starts.
    """
    n_uncounted = 2 * _PREFETCHED * config.workers + _WARM_UP_STEPS
    results: list[PerStep] = []
    start = (0.0, 0.0, 0.0)

    def now() -> tuple[float, float, float]:
        cpu = time.process_time()
        return time.perf_counter(), cpu, tree_cpu_seconds() - cpu

    def progress(done: int, total: int, line: str) -> None:
        nonlocal start
        if not done:
            return
        in_round = (done - 1) % (n_uncounted + n_steps) + 1
        if in_round == n_uncounted:
            start = now()
        if in_round == n_uncounted + n_steps:
            seconds = (end - begin for begin, end in zip(start, now(), strict=True))
            results.append(PerStep(*(each / n_steps for each in seconds)))
            others()
        if len(results) == n_rounds:
            raise EnoughStepsError

    n_tiles = len(index_tiles(TileStore(config.store)))
    n_needed = n_rounds * (n_uncounted + n_steps)
    enough = config.with_changes(
        epochs=n_needed * config.batch_size // n_tiles + 1,
        log_seconds=1e-9,
        checkpoint_minutes=1e9,
        health_tiles=0,
        test_fraction=0.0,
    )
    with suppress(EnoughStepsError):
        pretrain(enough, progress=progress)
    assert len(results) == n_rounds, (len(results), n_rounds)
    return results


def _views(config: PretrainConfig) -> TileViews:
    return TileViews(
        config.store,
        index_tiles(TileStore(config.store)),
        kind="contrastive",
        view_px=config.view_px,
        policy=load_policy(config.policy, options=config.policy_options),
        seed=config.seed,
    )


def python_of(environment: Path) -> Path:
    """Return the interpreter of lightly's environment.

    Raises:
        SystemExit: there is none.
    """
    python = environment / "bin" / "python"
    if not python.is_file():
        raise SystemExit(
            f"lightly must have an environment at {str(environment)!r}; make it as "
            f"`{Path(sys.argv[0]).name} --help` says, or leave --lightly out."
        )
    return python
