"""Tiles beside the tiles that a network takes for the most alike."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from medsimclr.data.split import is_in
from medsimclr.evaluation.knn import cosine_neighbours
from medsimclr.training.compute import choose_device
from medsimclr.training.inference import encode
from medsimclr.training.material import open_material
from medsimclr.training.networks import load_simclr
from medsimclr.training.run_directory import run_split

__all__ = ["neighbours_figure"]


def neighbours_figure(
    run: Path, store: Path, *, n_queries: int = 5, n_neighbours: int = 6, seed: int = 0
) -> Figure:
    """Draw test tiles and their nearest training tiles by the encoder of a pretraining run.

    Args:
        run: the pretraining run; its split says which tiles are queries.
        store: the tile store.
        n_queries: rows.
        n_neighbours: tiles in a row beside the query.
        seed: chooses the queries.
    """
    model, network = load_simclr(run)
    material = open_material(store)
    is_test = is_in("test", material.index.patient_N, run_split(run))
    bank, test = material.index.select(~is_test), material.index.select(is_test)
    chosen = np.random.default_rng(seed).choice(len(test), min(n_queries, len(test)), replace=False)
    queries = test.select(chosen)
    device = choose_device("auto")
    query_QD, bank_ND = (
        encode(model.encoder, store, tiles, view_px=network.view_px, device=device)
        for tiles in (queries, bank)
    )
    index_QK, similarity_QK = cosine_neighbours(query_QD, bank_ND, k=min(n_neighbours, len(bank)))
    figure = Figure(figsize=(1.5 * (1 + index_QK.shape[1]), 1.75 * len(queries)))
    figure.set_layout_engine("constrained")
    grid = figure.subplots(len(queries), 1 + index_QK.shape[1], squeeze=False)
    names = [*material.store.meta.classes, "no label"]
    for row, axes_row in enumerate(grid):
        found = bank.select(index_QK[row])
        slides = [queries.slide_N[row], *found.slide_N]
        rows = [queries.row_N[row], *found.row_N]
        labels = [queries.label_N[row], *found.label_N]
        titles = ["test tile", *(f"{value:.3f}" for value in similarity_QK[row])]
        tiles_NHW3 = material.store.read_tiles(slides, rows)
        for axes, tile, label, title in zip(axes_row, tiles_NHW3, labels, titles, strict=True):
            axes.imshow(tile)
            axes.set_title(f"{title}\n{names[label]}", fontsize=7)
            axes.set_axis_off()
    return figure
