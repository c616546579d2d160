"""A contact sheet: what a policy makes of a few tiles, to be looked at before hours of training.

A row per tile: the tile, views of pretraining, views of fine-tuning; or views of pretraining at
rising strengths. What no person would still call the same tissue, no network should be asked to.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from medsimclr.augment.geometric import resize_whole, without_geometry
from medsimclr.augment.policy import AugmentationPolicy, apply_seeded

if TYPE_CHECKING:
    from albumentations import Compose

__all__ = ["contact_sheet", "strength_sheet"]

_MARGIN_PX = 12
_GAP_PX = 4
_GROUP_GAP_PX = 20
_LABEL_PX = 14
_PAPER = (255, 255, 255)
_INK = (60, 60, 60)

_Rows = list[list[NDArray[np.uint8]]]


def contact_sheet(
    tiles_NHW3: NDArray[np.uint8],
    policy: AugmentationPolicy,
    *,
    view_px: int,
    n_views: int,
    seed: int,
) -> NDArray[np.uint8]:
    """Draw a policy's views of some tiles, (height, width, 3), RGB.

    Args:
        tiles_NHW3: the tiles, one row each.
        policy: whose views are drawn.
        view_px: side of a view, and of the tile as it is shown.
        n_views: views per tile in each of the two groups.
        seed: views are drawn from (seed, group, tile, view).
    """
    groups = [
        ("tile", [[resize_whole(tile_HW3, view_px)] for tile_HW3 in tiles_NHW3]),
        ("contrastive views", _views(tiles_NHW3, policy.contrastive(view_px), n_views, (seed, 0))),
        ("supervised views", _views(tiles_NHW3, policy.supervised(view_px), n_views, (seed, 1))),
    ]
    return _drawn(groups, view_px=view_px)


def strength_sheet(
    tiles_NHW3: NDArray[np.uint8],
    policies: Mapping[float, AugmentationPolicy],
    *,
    view_px: int,
    n_views: int,
    seed: int,
) -> NDArray[np.uint8]:
    """Draw contrastive views of some tiles at several strengths, (height, width, 3), RGB.

    The n-th view of a tile has the same seed at every strength: its draws are the same, their
    effect is scaled. Every view shows the whole tile, not turned, since a crop that changes with
    the strength hides what becomes of colours; a policy that changes nothing but the geometry is
    drawn with it.

    Args:
        tiles_NHW3: the tiles, one row each.
        policies: the policy by strength, in the order of drawing.
        view_px: side of a view, and of the tile as it is shown.
        n_views: views per tile and strength.
        seed: views are drawn from (seed, 0, tile, view), as on the contact sheet.
    """
    shown_NVV3 = np.stack([resize_whole(tile_HW3, view_px) for tile_HW3 in tiles_NHW3])
    composes = {strength: policy.contrastive(view_px) for strength, policy in policies.items()}
    swept = {
        strength: _views(shown_NVV3, without_geometry(compose), n_views, (seed, 0))
        for strength, compose in composes.items()
    }
    if all(_are_all(views, shown_NVV3) for views in swept.values()):
        swept = {
            strength: _views(tiles_NHW3, compose, n_views, (seed, 0))
            for strength, compose in composes.items()
        }
    groups = [("tile", [[shown_VV3] for shown_VV3 in shown_NVV3])]
    groups += [(f"strength {strength:g}", views) for strength, views in swept.items()]
    return _drawn(groups, view_px=view_px)


def _drawn(groups: list[tuple[str, _Rows]], *, view_px: int) -> NDArray[np.uint8]:
    """Draw groups of pictures side by side, each with its label above it."""
    pitch_px = view_px + _GAP_PX
    font = ImageFont.load_default(_LABEL_PX)
    group_widths_px = [
        max(len(rows[0]) * pitch_px - _GAP_PX, math.ceil(font.getlength(label)))
        for label, rows in groups
    ]
    width_px = sum(group_widths_px) + (len(groups) - 1) * _GROUP_GAP_PX + 2 * _MARGIN_PX
    top_px = _MARGIN_PX + 2 * _LABEL_PX
    height_px = top_px + len(groups[0][1]) * pitch_px - _GAP_PX + _MARGIN_PX

    sheet = Image.new("RGB", (width_px, height_px), _PAPER)
    draw = ImageDraw.Draw(sheet)
    left_px = _MARGIN_PX
    for (label, rows), group_width_px in zip(groups, group_widths_px, strict=True):
        draw.text((left_px, _MARGIN_PX), label, fill=_INK, font=font)
        for row, views in enumerate(rows):
            for column, view_HW3 in enumerate(views):
                corner_xy = (left_px + column * pitch_px, top_px + row * pitch_px)
                sheet.paste(Image.fromarray(view_HW3), corner_xy)
        left_px += group_width_px + _GROUP_GAP_PX
    return np.asarray(sheet)


def _views(
    tiles_NHW3: NDArray[np.uint8], compose: "Compose", n_views: int, seed: tuple[int, int]
) -> _Rows:
    return [
        [apply_seeded(compose, tile_HW3, seed=(*seed, tile, view)) for view in range(n_views)]
        for tile, tile_HW3 in enumerate(tiles_NHW3)
    ]


def _are_all(views: _Rows, tiles_NVV3: NDArray[np.uint8]) -> bool:
    return all(
        np.array_equal(view_VV3, tile_VV3)
        for row, tile_VV3 in zip(views, tiles_NVV3, strict=True)
        for view_VV3 in row
    )
