"""`medsimclr policies show`: one picture per policy.

The contact sheet is above, the strength swept from 0 to twice the default below it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medsimclr.augment.contract import first_line
from medsimclr.augment.discovery import installed_policies, load_policy
from medsimclr.augment.policy import AugmentationPolicy
from medsimclr.config.policies import PolicyShowConfig
from medsimclr.data.tile_index import index_tiles
from medsimclr.errors import PolicyError
from medsimclr.files.atomic import output_errors
from medsimclr.files.output_folder import check_output_folder
from medsimclr.report.contact_sheet import contact_sheet, strength_sheet
from medsimclr.store.reader import TileStore

__all__ = ["PolicySheet", "draw_policy_sheets"]


@dataclass(frozen=True)
class PolicySheet:
    """A picture of a policy's views."""

    path: Path
    is_swept: bool
    """Whether the strength is swept below the views; it is not where the policy has no scaled."""


_STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0)
_SWEPT_TILES = 3
_SWEPT_VIEWS = 2


def draw_policy_sheets(config: PolicyShowConfig) -> dict[str, PolicySheet]:
    """Draw tiles of different slides and their views; return the pictures by policy.

    Raises:
        ConfigError: the output is a file.
        PolicyError: a policy is unknown or unusable.
    """
    check_output_folder(config.out)
    specs = [config.policy] if config.policy else list(installed_policies())
    policies = {spec: load_policy(spec, options=config.policy_options) for spec in specs}
    tiles_NHW3 = _tiles(config)
    sheets: dict[str, PolicySheet] = {}
    for spec, policy in policies.items():
        sheet_HW3, is_swept = _sheet(tiles_NHW3, policy, config, spec=spec)
        name = Path(spec.rpartition(":")[0] or spec).stem
        sheets[spec] = PolicySheet(path=config.out / f"{name}.png", is_swept=is_swept)
        with output_errors(config.out):
            config.out.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sheet_HW3).save(sheets[spec].path)
    return sheets


def _tiles(config: PolicyShowConfig) -> NDArray[np.uint8]:
    store = TileStore(config.store)
    index = index_tiles(store)
    rng = np.random.default_rng(config.seed)
    # As many slides as rows, if there are: stains differ between slides.
    order = rng.permutation(len(index))
    first_of_slide = {int(index.slide_N[i]): int(i) for i in order[::-1]}
    chosen = list(dict.fromkeys([*first_of_slide.values(), *order.tolist()]))[: config.tiles]
    return store.read_tiles(index.slide_N[chosen].tolist(), index.row_N[chosen].tolist())


def _sheet(
    tiles_NHW3: NDArray[np.uint8],
    policy: AugmentationPolicy,
    config: PolicyShowConfig,
    *,
    spec: str,
) -> tuple[NDArray[np.uint8], bool]:
    """Return the picture and whether the strength is swept in it."""
    view_px, seed = config.view_px, config.seed
    sheet_HW3 = contact_sheet(tiles_NHW3, policy, view_px=view_px, n_views=config.views, seed=seed)
    scaled: Callable[[float], AugmentationPolicy] | None = getattr(policy, "scaled", None)
    if scaled is None:
        return sheet_HW3, False
    try:
        sweep_HW3 = strength_sheet(
            tiles_NHW3[:_SWEPT_TILES],
            {strength: scaled(strength) for strength in _STRENGTHS},
            view_px=view_px,
            n_views=min(_SWEPT_VIEWS, config.views),
            seed=seed,
        )
    except Exception as error:
        # A stranger's code may raise anything at a strength that was not looked at.
        raise PolicyError(
            f"augmentation policy {spec!r} cannot be swept from strength 0 to 2: "
            f"{first_line(error)} See medsimclr policies check."
        ) from error
    return _stacked(sheet_HW3, sweep_HW3), True


def _stacked(above_HW3: NDArray[np.uint8], below_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put one picture on paper below the other, both at the left edge."""
    width = max(above_HW3.shape[1], below_HW3.shape[1])
    wide = [
        np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0)), constant_values=255)
        for part in (above_HW3, below_HW3)
    ]
    return np.concatenate(wide)
