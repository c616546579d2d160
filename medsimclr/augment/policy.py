"""What an augmentation policy is, and how the engine draws a view from it.

A policy is a frozen, keyword-only dataclass whose fields are its strengths and whose two methods
return an albumentations `Compose` from a uint8 RGB tile (H, W, 3) to a view (view_px, view_px, 3).

Shapes: HW3 = rows, columns, RGB.
"""

import dataclasses
import importlib.metadata
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from medsimclr.errors import PolicyError

if TYPE_CHECKING:
    # albumentations takes a second to import: whoever draws views has imported it already.
    import albumentations

__all__ = [
    "ENTRY_POINT_GROUP",
    "AugmentationPolicy",
    "apply_seeded",
    "class_name",
    "policy_record",
]

ENTRY_POINT_GROUP = "medsimclr.augment_policies"
"""Entry point group under which a package announces its policies."""


class AugmentationPolicy(Protocol):
    """The random views of a tile that one domain calls the same thing."""

    def contrastive(self, view_px: int) -> "albumentations.Compose":
        """Return the transform of pretraining: two draws of it are a positive pair."""
        ...

    def supervised(self, view_px: int) -> "albumentations.Compose":
        """Return the milder transform of fine-tuning and distillation."""
        ...


def apply_seeded(
    compose: "albumentations.Compose", tile_HW3: NDArray[np.uint8], *, seed: Sequence[int]
) -> NDArray[np.uint8]:
    """Draw one view of a tile as a pure function of the seed.

    `Compose.set_random_seed` would start every transform from the same state, so that "the crop is
    large" and "the image is flipped" become one coin. Here all transforms, nested ones too, draw in
    turn from one numpy generator and one Python generator. About 30 us a view.

    The compose is changed by the call: use one per thread.

    Args:
        compose: what a policy's method returned.
        tile_HW3: the tile; it is not written to and the view shares no memory with it.
        seed: non-negative integers of a fixed length, by convention (seed, epoch, tile, view);
            numpy pads a shorter tuple with zeros, so (1, 2) and (1, 2, 0) draw the same.

    Raises:
        PolicyError: the compose returned something other than a uint8 RGB image.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    compose.set_random_state(generator, random.Random(int(generator.integers(2**63))))
    view_HW3 = compose(image=tile_HW3)["image"]
    if not (
        isinstance(view_HW3, np.ndarray)
        and view_HW3.dtype == np.uint8
        and view_HW3.ndim == 3
        and view_HW3.shape[2] == 3
    ):
        kind = f"{type(view_HW3).__name__} {getattr(view_HW3, 'dtype', '')}".strip()
        raise PolicyError(
            "an augmentation policy must return a uint8 RGB image (H, W, 3), got "
            f"{kind} of shape {tuple(getattr(view_HW3, 'shape', ()))}. "
            "Leave out normalisation and conversion to tensors: the engine does both."
        )
    # A crop of the whole tile followed by nothing is the tile itself.
    return view_HW3.copy() if np.may_share_memory(view_HW3, tile_HW3) else view_HW3


def class_name(policy: AugmentationPolicy) -> str:
    """Return "module:name" of a policy's class; the module of a file is named by its digest."""
    return f"{type(policy).__module__}:{type(policy).__qualname__}"


def policy_record(policy: AugmentationPolicy) -> dict[str, object]:
    """Describe a policy for a checkpoint: what someone needs to draw the same views again.

    Returns:
        `class` ("module:name"; the module of a policy file is named by the file's digest),
        `fields`, `distribution` and `version` (both None for a policy outside any installed
        distribution), and `albumentations`, whose version decides the draws too.

    Raises:
        PolicyError: the policy is not a dataclass instance.
    """
    if not dataclasses.is_dataclass(policy):
        raise PolicyError(
            f"an augmentation policy must be an instance of a dataclass, got {policy!r}. "
            "Load it with load_policy."
        )
    name = class_name(policy)
    distribution = _distribution_of(name)
    return {
        "class": name,
        "fields": dataclasses.asdict(policy),
        "distribution": distribution.name if distribution else None,
        "version": distribution.version if distribution else None,
        "albumentations": importlib.metadata.version("albumentations"),
    }


def _distribution_of(class_name: str) -> importlib.metadata.Distribution | None:
    """Return the installed distribution that announces this class, else the one that holds it."""
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        if entry_point.value == class_name and entry_point.dist is not None:
            return entry_point.dist
    top_level = class_name.partition(":")[0].partition(".")[0]
    names = importlib.metadata.packages_distributions().get(top_level, [])
    return importlib.metadata.distribution(names[0]) if names else None
