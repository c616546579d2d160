import multiprocessing
import os
from dataclasses import dataclass

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from medsimclr.data.order import BatchOrder
from medsimclr.data.tile_index import index_tiles, patients_of
from medsimclr.data.views import TileViews, evaluation_view, load_batches
from medsimclr.errors import IntegrityError
from medsimclr.store.reader import TileStore
from tests.tiny_store import write_tiny_store


@dataclass(frozen=True)
class _Crop:
    """A random crop; the milder views are a crop of another size."""

    def contrastive(self, view_px):
        return A.Compose([A.RandomCrop(view_px, view_px)])

    def supervised(self, view_px):
        return A.Compose([A.CenterCrop(view_px, view_px)])


def _views(store_path, kind="contrastive", *, seed=0, view_px=16):
    index = index_tiles(TileStore(store_path))
    return TileViews(store_path, index, kind=kind, view_px=view_px, policy=_Crop(), seed=seed)


def test_the_index_has_every_tile_with_its_patient_and_unit(store_path):
    store = TileStore(store_path)
    index = index_tiles(store)
    assert patients_of(store) == ["p", "p", "s3"]
    assert index.id_N.tolist() == list(range(36))
    assert index.slide_N.tolist() == [0] * 12 + [1] * 12 + [2] * 12
    assert index.row_N.tolist() == [*range(12)] * 3
    assert index.patient_N.tolist() == ["p"] * 24 + ["s3"] * 12
    assert index.unit_N.tolist() == ["p"] * 24 + [f"tile-{i}" for i in range(24, 36)]
    assert index.label_N.tolist() == [-1, 0, 1] * 12
    assert index.level0_xy_N2[:3].tolist() == [[0, 0], [40, 0], [80, 0]]


def test_a_selection_keeps_the_numbers_of_its_tiles(store_path):
    index = index_tiles(TileStore(store_path))
    assert index.select(np.array([30, 2])).id_N.tolist() == [30, 2]
    assert index.select(index.label_N == 1).id_N.tolist() == list(range(2, 36, 3))


def test_a_pair_is_two_different_crops_of_its_own_tile(store_path):
    views = _views(store_path)
    batch, labels = views.__getitems__([(0, 14), (0, 5)])
    assert batch.shape == (2, 2, 16, 16, 3)
    assert batch.dtype == torch.uint8
    assert labels.tolist() == [1, 1]
    tiles = TileStore(store_path).read_tiles([1, 0], [2, 5])
    for b in range(2):
        assert not torch.equal(batch[0, b], batch[1, b])
        for v in range(2):
            crops = np.lib.stride_tricks.sliding_window_view(tiles[b], (16, 16, 3))
            assert (crops == batch[v, b].numpy()).all(axis=(2, 3, 4, 5)).any()


def test_views_depend_on_seed_epoch_and_tile_alone(store_path):
    views = _views(store_path)
    alone = views.__getitems__([(3, 7)])[0]
    in_company = _views(store_path).__getitems__([(0, 1), (3, 7), (3, 8)])[0]
    assert torch.equal(alone[:, 0], in_company[:, 1])
    assert torch.equal(alone, views.__getitems__([(3, 7)])[0])
    assert not torch.equal(alone, views.__getitems__([(4, 7)])[0])
    assert not torch.equal(alone, _views(store_path, seed=1).__getitems__([(3, 7)])[0])


def test_a_tile_has_the_same_views_in_every_selection(store_path):
    index = index_tiles(TileStore(store_path)).select(np.array([20, 7]))
    options = {"kind": "contrastive", "view_px": 16, "policy": _Crop()}
    selected = TileViews(store_path, index, **options).__getitems__([(0, 1)])[0]
    assert torch.equal(selected, _views(store_path).__getitems__([(0, 7)])[0])


def test_tiles_are_cropped_at_places_of_their_own(store_path):
    gradient = np.zeros((40, 40, 3), np.uint8)
    gradient[..., 0], gradient[..., 1] = np.arange(40)[:, None], np.arange(40)[None]
    views = _views(store_path)
    places = {tuple(views._view(gradient, (0, 0, tile, 0))[0, 0]) for tile in range(20)}
    assert len(places) > 15


@pytest.mark.parametrize("n_workers", [2])
def test_workers_give_the_same_batches_in_the_same_order(store_path, n_workers):
    order = BatchOrder(n_tiles=36, batch_size=8, seed=0, start_step=2, stop_step=7)
    alone = list(load_batches(_views(store_path), order, n_workers=0))
    shared = list(load_batches(_views(store_path), order, n_workers=n_workers))
    assert len(alone) == len(shared) == 5
    for (views, labels), (other_views, other_labels) in zip(alone, shared, strict=True):
        assert torch.equal(views, other_views)
        assert torch.equal(labels, other_labels)


class _OwnNiceness(Dataset):
    """Batches that say how nice the process is that reads them."""

    def __getitems__(self, samples):
        return torch.tensor([os.nice(0)] * len(samples)), torch.zeros(len(samples))


def test_a_worker_steps_back_behind_the_threads_that_compute():
    [(niceness, _)] = load_batches(_OwnNiceness(), [[(0, 0)]], n_workers=1)
    assert niceness.item() == min(os.nice(0) + 10, 19)


def test_supervised_views_are_the_policys_milder_ones(store_path):
    batch, labels = _views(store_path, "supervised")[5]
    tile = TileStore(store_path).read_tiles([0], [5])[0]
    assert batch.shape == (1, 1, 16, 16, 3)
    np.testing.assert_array_equal(batch[0, 0].numpy(), tile[12:28, 12:28])
    assert labels.tolist() == [1]


def test_evaluation_views_need_no_policy_and_no_seed(store_path):
    index = index_tiles(TileStore(store_path))
    views = TileViews(store_path, index, kind="evaluation", view_px=35)
    batch, _ = views.__getitems__([(0, 5), (9, 5)])
    tile = TileStore(store_path).read_tiles([0], [5])[0]
    assert torch.equal(batch[0, 0], batch[0, 1])
    np.testing.assert_array_equal(batch[0, 0].numpy(), tile[2:37, 2:37])
    assert len(views) == 36


@pytest.mark.parametrize(
    ("tile_px", "view_px", "side"), [(224, 96, 196), (256, 224, 224), (40, 32, 40), (32, 32, 32)]
)
def test_the_evaluation_view_is_the_centre_of_its_share(tile_px, view_px, side):
    tile = np.random.default_rng(0).integers(0, 256, (tile_px, tile_px, 3), np.uint8)
    view = evaluation_view(tile, view_px=view_px)
    start = (tile_px - side) // 2
    centre = tile[start : start + side, start : start + side]
    expected = cv2.resize(centre, (view_px, view_px), interpolation=cv2.INTER_CUBIC)
    assert view.shape == (view_px, view_px, 3)
    assert view.dtype == np.uint8
    np.testing.assert_array_equal(view, centre if side == view_px else expected)


@pytest.mark.parametrize("n_workers", [0, 1])
def test_a_damaged_tile_is_the_stores_own_error_and_leaves_no_worker(tmp_path, n_workers):
    store = write_tiny_store(tmp_path / "s.zarr")
    (store / "slide_2" / "images/c/0/0/0/0").unlink()
    index = index_tiles(TileStore(store))
    views = TileViews(store, index, kind="evaluation", view_px=32)
    order = [[(0, position)] for position in range(len(index))]
    batches = load_batches(views, order, n_workers=n_workers)
    with pytest.raises(IntegrityError, match=r"^shard '.*slide_2/images/c/0/0/0/0' must be there"):
        list(batches)
    assert multiprocessing.active_children() == []
