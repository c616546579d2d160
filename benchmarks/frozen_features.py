"""How well frozen features tell classes apart: nearest neighbours and a linear probe.

Accuracy of the test tiles from the features of the training tiles, both in evaluation views and
float32. kNN is that of InstDisc (k 200, temperature 0.07), the probe that of `medsimclr evaluate`.
"""

from pathlib import Path

import numpy as np
import torch

from medsimclr.data.tile_index import TileIndex
from medsimclr.evaluation.knn import knn_probabilities
from medsimclr.evaluation.linear_probe import fit_linear
from medsimclr.models.resnet import ResNet
from medsimclr.training.inference import encode

__all__ = ["accuracies"]


def accuracies(
    encoder: ResNet,
    store: Path,
    *,
    train: TileIndex,
    test: TileIndex,
    view_px: int,
    seed: int,
    k: int = 200,
    is_probed: bool = True,
) -> dict[str, float]:
    """Return the accuracies "knn" and "linear" of an encoder.

    Args:
        encoder: from images to features; put into inference mode.
        store: the tile store.
        train: labelled tiles that the classifiers are made of.
        test: labelled tiles that they are tested on, of other units.
        view_px: side of the views.
        seed: of the probe's folds.
        k: neighbours that vote; 200 of InstDisc is for tens of thousands.
        is_probed: whether the linear probe is fitted, which takes most of the time.
    """
    bank_ND, query_QD = (
        encode(encoder, store, tiles, view_px=view_px, device=torch.device("cpu"))
        for tiles in (train, test)
    )
    n_classes = int(max(train.label_N.max(), test.label_N.max())) + 1
    predicted = {
        "knn": knn_probabilities(
            query_QD, bank_ND, train.label_N, n_classes=n_classes, k=min(k, len(train))
        )
    }
    if is_probed:
        _, groups_N = np.unique(train.unit_N, return_inverse=True)
        probe = fit_linear(
            bank_ND, train.label_N, n_classes=n_classes, groups_N=groups_N, seed=seed
        )
        predicted["linear"] = probe.predict_proba(query_QD)
    return {
        name: float((probability_QC.argmax(axis=1) == test.label_N).mean())
        for name, probability_QC in predicted.items()
    }
