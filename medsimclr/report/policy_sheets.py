"""`medsimclr policies show`: two pictures per policy.

NAME.png         the contact sheet, and the strength swept from 0 to twice the default below it
NAME_reach.png   whether its views reach the stains of the store's other centres
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medsimclr.augment.contract import first_line
from medsimclr.augment.discovery import installed_policies, load_policy
from medsimclr.augment.policy import AugmentationPolicy
from medsimclr.config.policies import PolicyShowConfig
from medsimclr.data.stain_groups import GroupKind, StainGroups, stain_groups
from medsimclr.data.stain_reach import draw_reach, lost_note, mean_coverage
from medsimclr.data.tile_index import index_tiles
from medsimclr.errors import NoInputError, PolicyError
from medsimclr.files.output_folder import check_output_folder
from medsimclr.report.contact_sheet import contact_sheet, strength_sheet
from medsimclr.report.picture_files import save_figure, save_image
from medsimclr.report.reach_figure import reach_figure
from medsimclr.store.reader import TileStore

__all__ = ["PolicySheet", "draw_policy_sheets"]


@dataclass(frozen=True)
class PolicySheet:
    """Pictures of a policy's views."""

    path: Path
    reach_path: Path | None
    """None where the store has no stains to compare."""
    covered: tuple[float, float] | None
    """Mean share of other groups' tiles that the tiles of one cover, and that its views do."""
    kind: GroupKind | None
    """What was compared: centres, patients or slides."""
    is_swept: bool
    """Whether the strength is swept below the views; it is not where the policy has no scaled."""

    def record(self) -> dict[str, object]:
        """Return it ready for JSON."""
        before, after = self.covered or (None, None)
        return {
            "sheet": str(self.path),
            "is_swept": self.is_swept,
            "reach": str(self.reach_path) if self.reach_path else None,
            "compared": self.kind,
            "covered": after,
            "covered_without": before,
        }


_STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0)
_SWEPT_TILES = 3
_SWEPT_VIEWS = 2


def draw_policy_sheets(
    config: PolicyShowConfig, *, note: Callable[[str], None]
) -> dict[str, PolicySheet]:
    """Draw tiles of different slides, their views and their stains; return the pictures by policy.

    Args:
        config: what to draw, and where to.
        note: is told whose stains are not compared, if any's, and of views without tissue.

    Raises:
        ConfigError: the output is a file.
        PolicyError: a policy is unknown or unusable.
    """
    check_output_folder(config.out)
    specs = [config.policy] if config.policy else list(installed_policies())
    policies = {spec: load_policy(spec, options=config.policy_options) for spec in specs}
    store = TileStore(config.store)
    tiles_NHW3 = _tiles(store, config)
    groups = _groups(store, config, note=note)
    sheets: dict[str, PolicySheet] = {}
    for spec, policy in policies.items():
        sheet_HW3, is_swept = _sheet(tiles_NHW3, policy, config, spec=spec)
        path = config.out / f"{Path(spec.rpartition(':')[0] or spec).stem}.png"
        save_image(sheet_HW3, path)
        reach_path, covered = None, None
        if groups is not None:
            reach_path = path.with_stem(f"{path.stem}_reach")
            covered = _draw_reach(groups, policy, config, spec=spec, out=reach_path, note=note)
        kind = groups.kind if groups else None
        sheets[spec] = PolicySheet(path, reach_path, covered, kind, is_swept)
    return sheets


def _groups(
    store: TileStore, config: PolicyShowConfig, *, note: Callable[[str], None]
) -> StainGroups | None:
    try:
        groups = stain_groups(
            store,
            slide_indices=range(len(store.slides)),
            view_px=config.view_px,
            n_tiles=config.reach_tiles,
            seed=config.seed,
        )
    except NoInputError as error:
        # The views are worth seeing all the same.
        note(f"note: stains are not compared: {error}")
        return None
    for line in groups.left_out_notes():
        note(f"note: {line}")
    return groups


def _draw_reach(
    groups: StainGroups,
    policy: AugmentationPolicy,
    config: PolicyShowConfig,
    *,
    spec: str,
    out: Path,
    note: Callable[[str], None],
) -> tuple[float, float]:
    try:
        reaches = draw_reach(groups.groups, policy, n_views=config.reach_views, seed=config.seed)
    except Exception as error:
        # A stranger's code may raise anything where its own crops are left out.
        raise PolicyError(
            f"augmentation policy {spec!r} cannot be drawn without its geometry: "
            f"{first_line(error)} See medsimclr policies check."
        ) from error
    save_figure(reach_figure(reaches, policy=spec, kind=groups.kind), out)
    lost = lost_note(reaches)
    if lost is not None:
        note(f"note: {spec}: {lost}")
    return mean_coverage(reaches)


def _tiles(store: TileStore, config: PolicyShowConfig) -> NDArray[np.uint8]:
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
