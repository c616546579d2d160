"""Accuracies from frozen features say what the features know."""

import torch
from frozen_features import accuracies
from torch import nn

from medsimclr.data.tile_index import index_tiles
from medsimclr.store.reader import TileStore
from tests.tiny_store import write_tiny_store


class _Rows(nn.Module):
    """The mean of each row of pixels: classes of the tiny store differ in stripes."""

    def forward(self, image_BCHW):
        return image_BCHW.mean(dim=(1, 3))


class _Nothing(nn.Module):
    def forward(self, image_BCHW):
        return torch.ones(len(image_BCHW), 4)


def _accuracies(tmp_path, encoder, **options):
    path = write_tiny_store(tmp_path / "tiny.zarr", tile_px=32)
    tiles = index_tiles(TileStore(path))
    is_test_N = tiles.patient_N == "P0"
    return accuracies(
        encoder, path, train=tiles.select(~is_test_N), test=tiles.select(is_test_N), view_px=32,
        seed=0, k=5, **options,
    )  # fmt: skip


def test_features_that_tell_the_classes_apart_are_right_always(tmp_path):
    assert _accuracies(tmp_path, _Rows()) == {"knn": 1.0, "linear": 1.0}


def test_features_that_know_nothing_are_right_by_chance(tmp_path):
    found = _accuracies(tmp_path, _Nothing())
    assert found == {"knn": 0.5, "linear": 0.5}


def test_the_probe_can_be_left_out(tmp_path):
    assert _accuracies(tmp_path, _Rows(), is_probed=False) == {"knn": 1.0}
