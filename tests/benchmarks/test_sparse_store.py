from sparse_store import build_sparse_store

from medsimclr.store.reader import TileStore


def test_a_sparse_store_opens_with_all_its_tiles(tmp_path):
    build_sparse_store(tmp_path / "sparse.zarr", [600, 100])
    store = TileStore(tmp_path / "sparse.zarr")
    assert [slide.n_tiles for slide in store.slides] == [600, 100]
    for slide in store.slides:
        shards = [key for key in slide.digests if key.startswith("images/c/")]
        assert all((store.path / slide.slide_id / key).stat().st_size > 0 for key in shards)
