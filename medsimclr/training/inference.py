"""Features and predictions of a network for the tiles of a store, in their order."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from medsimclr.data.order import Sample
from medsimclr.data.tile_index import TileIndex
from medsimclr.data.views import TileViews, load_batches
from medsimclr.models.simclr import Classifier
from medsimclr.training.compute import on_device, to_images

__all__ = ["encode", "predict_probabilities"]


def predict_probabilities(
    model: Classifier,
    store: Path,
    tiles: TileIndex,
    *,
    view_px: int,
    device: torch.device,
    batch_size: int = 256,
    n_workers: int = 0,
) -> npt.NDArray[np.float64]:
    """Return class probabilities (N, K) from the evaluation view of every tile, in float32."""
    logits_NK = encode(
        model,
        store,
        tiles,
        view_px=view_px,
        device=device,
        batch_size=batch_size,
        n_workers=n_workers,
    )
    return torch.from_numpy(logits_NK).double().softmax(dim=1).numpy()


def encode(
    model: nn.Module,
    store: Path,
    tiles: TileIndex,
    *,
    view_px: int,
    device: torch.device,
    batch_size: int = 256,
    n_workers: int = 0,
) -> npt.NDArray[np.float32]:
    """Return what a network makes of the evaluation view of every tile, (N, D) float32.

    Args:
        model: any network on images (B, 3, H, W); put into inference mode.
        store: the tile store.
        tiles: which tiles.
        view_px: side of a view.
        device: where to compute.
        batch_size: tiles at once.
        n_workers: processes that read tiles.
    """
    model = on_device(model, device).eval()
    views = TileViews(store, tiles, kind="evaluation", view_px=view_px)
    outputs: list[npt.NDArray[np.float32]] = []
    with torch.inference_mode():
        for views_1BHWC, _ in load_batches(
            views, list(_in_order(len(tiles), batch_size)), n_workers=n_workers
        ):
            result_BD = model(to_images(views_1BHWC[0], device))
            outputs.append(result_BD.float().cpu().numpy())
    return np.concatenate(outputs)


def _in_order(n_tiles: int, batch_size: int) -> Iterator[list[Sample]]:
    for start in range(0, n_tiles, batch_size):
        yield [(0, position) for position in range(start, min(start + batch_size, n_tiles))]
