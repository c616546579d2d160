"""What a view costs on one core: 224 px out of 256-px tiles, CPU time, in one process.

- the stain jitter against albumentations' HEStain preset and scikit-image's rgb2hed and hed2rgb
- a view of every installed policy against albumentations' SimCLR view

Rivals are timed in turn with ours, round by round; ratios are medians over rounds. Tiles are the
upper left corners of images. scikit-image is no dependency: where it is absent, its line is left
out (`pip install --no-deps --target RIVALS scikit-image lazy-loader` and PYTHONPATH=RIVALS bring
it).

The rivals ask for fresh memory in every step, and glibc hands it back each time: most of their time
is page faults. Where a process keeps its memory, as our training does, they lose less: start it
with MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=4000000000 to see that.

Usage: python benchmarks/augment.py BREAKHIS100X [--rounds 5] [--views 200]
"""

import argparse
import importlib
import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medsimclr.augment.channel_lookup import ChannelLookup
from medsimclr.augment.discovery import installed_policies, load_policy
from medsimclr.augment.policy import apply_seeded
from medsimclr.augment.stain import jitter_stain

_TILE_PX = 256
_VIEW_PX = 224
_N_TILES = 16

_Draw = Callable[[NDArray[np.uint8]], object]


def read_tiles(folder: Path) -> list[NDArray[np.uint8]]:
    """Return the corners of images spread over a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in {".jpg", ".jpeg", ".png"})
    tiles = []
    for path in paths[:: max(1, len(paths) // _N_TILES)]:
        image_HW3 = np.asarray(Image.open(path).convert("RGB"))
        tiles.append(np.ascontiguousarray(image_HW3[:_TILE_PX, :_TILE_PX]))
    return tiles


def operations() -> dict[str, _Draw]:
    """Return the changes of stain by name, ours first: what is done to the pixels, draws apart."""
    generator = np.random.default_rng(0)
    gains_N3 = itertools.cycle(generator.uniform(0.8, 1.2, (64, 3)).tolist())
    offsets_N3 = itertools.cycle(generator.uniform(-0.1, 0.1, (64, 3)).tolist())
    # The transform of the policies keeps this memory too.
    lookup = ChannelLookup(_VIEW_PX, _VIEW_PX)
    he_stain = A.HEStain(method="preset", p=1.0)
    found: dict[str, _Draw] = {
        "stain jitter": lambda tile_HW3: jitter_stain(
            tile_HW3, gain_HED=next(gains_N3), offset_HED=next(offsets_N3), lookup=lookup
        ),
        "albumentations HEStain preset": lambda tile_HW3: he_stain.apply(
            tile_HW3, **he_stain.get_params_dependent_on_data({}, {"image": tile_HW3})
        ),
    }
    if importlib.util.find_spec("skimage"):
        color = importlib.import_module("skimage.color")
        found["scikit-image rgb2hed, hed2rgb"] = lambda tile_HW3: color.hed2rgb(
            color.rgb2hed(tile_HW3)
        )
    return found


def views() -> dict[str, _Draw]:
    """Return the contrastive views by name, albumentations' first."""
    rival = A.Compose(
        [
            A.RandomResizedCrop((_VIEW_PX, _VIEW_PX)),
            A.HorizontalFlip(),
            A.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
            A.ToGray(p=0.2),
            A.GaussianBlur(blur_limit=(23, 23), sigma_limit=(0.1, 2.0), p=0.5),
        ]
    )
    found: dict[str, _Draw] = {
        "albumentations SimCLR view": lambda tile_HW3: rival(image=tile_HW3),
    }
    for name in installed_policies():
        found[name] = _seeded(load_policy(name).contrastive(_VIEW_PX))
    return found


def _seeded(compose: A.Compose) -> _Draw:
    numbers = itertools.count()
    return lambda tile_HW3: apply_seeded(compose, tile_HW3, seed=(0, 0, 0, next(numbers)))


def microseconds(draw: _Draw, tiles: list[NDArray[np.uint8]], *, n_views: int) -> float:
    """Return the CPU time of one draw, after one that is not counted."""
    draw(tiles[0])
    start = time.process_time()
    for tile_HW3 in itertools.islice(itertools.cycle(tiles), n_views):
        draw(tile_HW3)
    return (time.process_time() - start) / n_views * 1e6


def timed(
    draws: dict[str, _Draw], tiles: list[NDArray[np.uint8]], *, rounds: int, n_views: int
) -> dict[str, list[float]]:
    """Return microseconds a draw by name, one figure a round."""
    return {
        name: list(times)
        for name, times in zip(
            draws,
            zip(
                *[
                    [microseconds(draw, tiles, n_views=n_views) for draw in draws.values()]
                    for _ in range(rounds)
                ],
                strict=True,
            ),
            strict=True,
        )
    }


def report(times: dict[str, list[float]], first: str, *, is_first_better: bool) -> None:
    """Print microseconds, rate and the ratio to the first line."""
    for name, of_rounds in times.items():
        median = statistics.median(of_rounds)
        pairs = zip(of_rounds, times[first], strict=True)
        ratio = statistics.median(mine / its for mine, its in pairs)
        said = f"{ratio:.1f} times the stain jitter" if is_first_better else f"{ratio:.2f} of its"
        print(f"{name:<32}{median:8.0f} us {1e6 / median:7.0f} a second   {said}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--views", type=int, default=200)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    tiles = read_tiles(given.tiles)
    parts = [np.ascontiguousarray(tile_HW3[:_VIEW_PX, :_VIEW_PX]) for tile_HW3 in tiles]
    n_slow = max(10, given.views // 10)
    changes = timed(operations(), parts, rounds=given.rounds, n_views=n_slow)
    report(changes, "stain jitter", is_first_better=True)
    drawn = timed(views(), tiles, rounds=given.rounds, n_views=given.views)
    report(drawn, "albumentations SimCLR view", is_first_better=False)


if __name__ == "__main__":
    main()
