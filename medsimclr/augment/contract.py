"""The contract of a policy, checked by drawing views of made-up tiles.

The one suite for our policies and a stranger's: loading a policy runs the cheap part of it,
`medsimclr policies check` and the tests run the whole. augment_policies/README.md states the rules.

Shapes: HW3 = rows, columns, RGB.
"""

import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medsimclr.augment.policy import AugmentationPolicy, apply_seeded, policy_record
from medsimclr.errors import PolicyError

if TYPE_CHECKING:
    import albumentations

__all__ = ["CHECKED_VIEW_PX", "METHODS", "check_policy", "first_line"]

CHECKED_VIEW_PX = 40
"""Side of the views at loading: small to be quick, above the 32 px from which on `simclr` blurs."""

METHODS = ("contrastive", "supervised")
"""The methods of a policy."""
_USE_OWN = "draw from self.py_random and self.random_generator alone, which the engine seeds"

_Image = NDArray[np.uint8]


def check_policy(
    policy: AugmentationPolicy, *, view_px: int = CHECKED_VIEW_PX, is_thorough: bool = True
) -> list[str]:
    """Say what a policy does against the contract.

    Args:
        policy: the policy; its class is a frozen dataclass, as `load_policy` gives it.
        view_px: side of the views to draw, pixels.
        is_thorough: whether to draw more views of more tiles, and of the policy made weaker and
            stronger. Without it, our policies take about 30 ms.

    Returns:
        One sentence for each broken rule, with what to mend; none if it keeps to the contract.
    """
    tiles = _tiles(view_px, is_thorough=is_thorough)
    n_views = 12 if is_thorough else 6
    problems = list(_record_problems(policy))
    with _watched_generators() as touched:
        for method in METHODS:
            problems += _method_problems(policy, method, view_px, tiles, n_views=n_views)
        # What follows compares views: it would only repeat what is wrong with single ones.
        if not problems:
            strength_problems = _strength_problems(policy, view_px, tiles, is_thorough=is_thorough)
            problems += _with_crash(strength_problems, "at another strength a view")
        if not problems and is_thorough:
            problems += _with_crash(_comparison_problems(policy, view_px), "a view")
    if touched:
        # Equal seeds that give different views have the same cause, and this names it.
        problems = [problem for problem in problems if "equal seeds" not in problem]
        problems.append(f"it uses the global generator of {' and '.join(touched)}; {_USE_OWN}.")
    return problems


def first_line(error: Exception) -> str:
    """Return "KindOfError: first line." of an error from someone else's code."""
    line = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    return f"{type(error).__name__}: {line}."


def _with_crash(problems: Iterator[str], what: str) -> Iterator[str]:
    """Pass problems on; an error of the policy on the way is the last of them."""
    try:
        yield from problems
    except Exception as error:
        yield f"{what} fails: {first_line(error)} Any tile, and strengths 0 to 2, must do."


def _tiles(view_px: int, *, is_thorough: bool) -> dict[str, _Image]:
    def noise(height: int, width: int) -> _Image:
        return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)

    side = view_px + 8
    tiles = {
        "noise": noise(side, side),
        "white": np.full((side, side, 3), 255, np.uint8),
        "black": np.zeros((side, side, 3), np.uint8),
        "one pixel off square": noise(side, side + 1),
    }
    if is_thorough:
        tiles |= {
            "view-sized": noise(view_px, view_px),
            "one-colour": np.full((side, side, 3), (170, 60, 140), np.uint8),
            "saturated": np.where(noise(side, side) > 127, 255, 0).astype(np.uint8),
            "long": noise(view_px // 2, 3 * view_px),
            "small": noise(view_px // 2, view_px // 2),
            "one-pixel": noise(1, 1),
        }
    return tiles


def _record_problems(policy: AugmentationPolicy) -> Iterator[str]:
    fields: Any = policy_record(policy)["fields"]
    for name, value in fields.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            yield (
                f"its field {name} holds a {type(value).__name__}, which a checkpoint cannot "
                "record; use numbers, strings, tuples and dictionaries of these."
            )


def _method_problems(
    policy: AugmentationPolicy,
    method: str,
    view_px: int,
    tiles: Mapping[str, _Image],
    *,
    n_views: int,
) -> Iterator[str]:
    """Draw all views twice, the second time in reverse order by a new transform, and look at them.

    The reverse order finds what is remembered from one view to the next, the new transform finds
    what began anew with it.
    """
    seeds = [(7, 1, number, view) for number in range(n_views // 2) for view in range(2)]
    jobs = [(kind, seed) for kind in tiles for seed in seeds]
    try:
        forward = _build(policy, method, view_px)
        views = [_draw(forward, tiles[kind], kind, seed, view_px) for kind, seed in jobs]
        backward = _build(policy, method, view_px)
        again = [_draw(backward, tiles[kind], kind, seed, view_px) for kind, seed in jobs[::-1]]
    except PolicyError as error:
        yield f"{method}({view_px}): {error}"
        return
    if any(not np.array_equal(one, two) for one, two in zip(views, again[::-1], strict=True)):
        yield (
            f"{method}({view_px}): equal seeds give different views, so a generator or a memory of "
            f"its own has a say; {_USE_OWN}, and keep nothing between views."
        )
    if max(view_HW3.max() for view_HW3 in views[:n_views]) <= 1:
        yield (
            f"{method}({view_px}): views of noise have no value above 1; return levels from 0 to "
            "255."
        )


def _build(policy: AugmentationPolicy, method: str, view_px: int) -> "albumentations.Compose":
    try:
        compose = getattr(policy, method)(view_px)
    except Exception as error:
        # A stranger's code may raise anything; the person can only mend the policy.
        raise PolicyError(f"it fails: {first_line(error)}") from error
    if not (callable(compose) and hasattr(compose, "set_random_state")):
        raise PolicyError(f"it must return an albumentations.Compose, got {compose!r}.")
    return compose


def _draw(
    compose: "albumentations.Compose",
    tile_HW3: _Image,
    kind: str,
    seed: tuple[int, ...],
    view_px: int,
) -> _Image:
    given_HW3 = tile_HW3.copy()
    try:
        view_HW3 = apply_seeded(compose, given_HW3, seed=seed)
    except PolicyError:
        raise
    except Exception as error:
        shape = "x".join(map(str, tile_HW3.shape))
        raise PolicyError(
            f"a view of a {kind} tile ({shape}) fails: {first_line(error)} Views of any tile must "
            "come out."
        ) from error
    if view_HW3.shape != (view_px, view_px, 3):
        raise PolicyError(
            f"a view must have the shape {(view_px, view_px, 3)}, got {view_HW3.shape} of a {kind} "
            f"tile {tile_HW3.shape}; end with a crop or a resize to view_px."
        )
    if not np.array_equal(given_HW3, tile_HW3):
        raise PolicyError("the tile is written to; work on a copy.")
    return view_HW3


def _strength_problems(
    policy: AugmentationPolicy, view_px: int, tiles: Mapping[str, _Image], *, is_thorough: bool
) -> Iterator[str]:
    scaled: Callable[[float], AugmentationPolicy] | None = getattr(policy, "scaled", None)
    if scaled is None:
        return
    variants: dict[float, AugmentationPolicy] = {}
    for strength in (0.0, 0.5, 1.0, 2.0):
        try:
            variants[strength] = scaled(strength)
        except Exception as error:
            yield f"scaled({strength:g}) fails: {first_line(error)} Keep fields in their ranges."
            return
        if type(variants[strength]) is not type(policy):
            yield (
                f"scaled({strength:g}) must return a {type(policy).__name__}, got "
                f"{variants[strength]!r}; use dataclasses.replace."
            )
            return
    if variants[1.0] != policy:
        yield "scaled(1) must equal the policy itself; multiply by the strength."
    tile_HW3 = np.random.default_rng(1).integers(0, 256, (view_px, view_px, 3), dtype=np.uint8)
    for method in METHODS:
        same_HW3 = _views(variants[0.0], method, tile_HW3, view_px, n_views=8)
        if any(not np.array_equal(view_HW3, tile_HW3) for view_HW3 in same_HW3):
            yield (
                f"scaled(0).{method}({view_px}) must return a tile of {view_px} px bit for bit, "
                "and changes it; switch off every part, crops and flips too."
            )
        if is_thorough:
            for strength in (0.5, 2.0):
                found = _method_problems(variants[strength], method, view_px, tiles, n_views=4)
                yield from (f"scaled({strength:g}).{problem}" for problem in found)
    if is_thorough and _change(variants[2.0], "contrastive", tile_HW3, view_px) < _change(
        variants[0.5], "contrastive", tile_HW3, view_px
    ):
        yield "scaled(2) changes tiles less than scaled(0.5); multiply by the strength."


def _comparison_problems(policy: AugmentationPolicy, view_px: int) -> Iterator[str]:
    """Compare views of different seeds, and supervised with contrastive ones."""
    noise_HW3 = np.random.default_rng(2).integers(0, 256, (view_px, view_px, 3), dtype=np.uint8)
    for method in METHODS:
        compose = _build(policy, method, view_px)
        n_distinct = {}
        for position, name in enumerate(("seed", "epoch", "tile", "view")):
            seeds = [tuple(i * (place == position) for place in range(4)) for i in range(32)]
            views = [apply_seeded(compose, noise_HW3, seed=seed).tobytes() for seed in seeds]
            n_distinct[name] = len(set(views))
        fixed = [name for name, number in n_distinct.items() if number == 1]
        if 0 < len(fixed) < len(n_distinct):
            yield f"{method}({view_px}): views do not vary with {' and '.join(fixed)}; {_USE_OWN}."
    colour_HW3 = np.full((view_px, view_px, 3), (170, 60, 140), np.uint8)
    supervised = _change(policy, "supervised", colour_HW3, view_px)
    contrastive = _change(policy, "contrastive", colour_HW3, view_px)
    if supervised > contrastive + 1.0:
        yield (
            f"supervised views change a colour by {supervised:.1f} grey levels on average, "
            f"contrastive ones by {contrastive:.1f}; labels need the milder views."
        )


def _views(
    policy: AugmentationPolicy, method: str, tile_HW3: _Image, view_px: int, *, n_views: int
) -> list[_Image]:
    compose = _build(policy, method, view_px)
    return [apply_seeded(compose, tile_HW3, seed=(3, 0, view)) for view in range(n_views)]


def _change(policy: AugmentationPolicy, method: str, tile_HW3: _Image, view_px: int) -> float:
    """Return the mean absolute change of a tile of view_px, grey levels."""
    views = _views(policy, method, tile_HW3, view_px, n_views=32)
    return float(np.mean([np.abs(view_HW3.astype(int) - tile_HW3).mean() for view_HW3 in views]))


@contextmanager
def _watched_generators() -> Iterator[list[str]]:
    """Give a list that at the end names the global generators drawn from; they are set back."""
    touched: list[str] = []
    python_state = random.getstate()
    numpy_state: Any = np.random.get_state(legacy=False)
    torch = sys.modules.get("torch")
    torch_state = torch.get_rng_state() if torch else None
    try:
        yield touched
    finally:
        if random.getstate() != python_state:
            touched.append("random")
            random.setstate(python_state)
        after: Any = np.random.get_state(legacy=False)
        if str(after["state"]["pos"]) != str(numpy_state["state"]["pos"]) or not np.array_equal(
            after["state"]["key"], numpy_state["state"]["key"]
        ):
            touched.append("numpy.random")
            np.random.set_state(numpy_state)
        if torch and not torch.equal(torch.get_rng_state(), torch_state):
            touched.append("torch")
            torch.set_rng_state(torch_state)
