"""`medsimclr policies --store`: one contact sheet per policy."""

from pathlib import Path

import numpy as np
from PIL import Image

from medsimclr.augment.discovery import installed_policies, load_policy
from medsimclr.config.policies import PoliciesConfig
from medsimclr.data.tile_index import index_tiles
from medsimclr.errors import ConfigError
from medsimclr.files.atomic import output_errors
from medsimclr.files.output_folder import check_output_folder
from medsimclr.report.contact_sheet import contact_sheet
from medsimclr.store.reader import TileStore

__all__ = ["draw_policy_sheets"]


def draw_policy_sheets(config: PoliciesConfig) -> dict[str, Path]:
    """Draw tiles of different slides and their views; return the pictures by policy.

    Raises:
        ConfigError: there is no store to take tiles from, or the output is a file.
        PolicyError: a policy is unknown or unusable.
    """
    if config.store is None:
        raise ConfigError("--policy draws views of real tiles; give --store too.")
    check_output_folder(config.out)
    specs = [config.policy] if config.policy else list(installed_policies())
    policies = {spec: load_policy(spec, options=config.policy_options) for spec in specs}
    store = TileStore(config.store)
    index = index_tiles(store)
    rng = np.random.default_rng(config.seed)
    # As many slides as rows, if there are: stains differ between slides.
    order = rng.permutation(len(index))
    first_of_slide = {int(index.slide_N[i]): int(i) for i in order[::-1]}
    chosen = list(dict.fromkeys([*first_of_slide.values(), *order.tolist()]))[: config.tiles]
    tiles_NHW3 = store.read_tiles(index.slide_N[chosen].tolist(), index.row_N[chosen].tolist())
    sheets: dict[str, Path] = {}
    with output_errors(config.out):
        config.out.mkdir(parents=True, exist_ok=True)
        for spec, policy in policies.items():
            sheet_HW3 = contact_sheet(
                tiles_NHW3,
                policy,
                view_px=config.view_px,
                n_views=config.views,
                seed=config.seed,
            )
            name = Path(spec.rpartition(":")[0] or spec).stem
            sheets[spec] = config.out / f"{name}.png"
            Image.fromarray(sheet_HW3).save(sheets[spec])
    return sheets
