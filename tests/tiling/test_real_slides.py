"""What becomes of the real slides: two are tiled at 20x, five are refused for a stated reason."""

import numpy as np
import pytest
from openslide import OpenSlide

from medsimclr.store.reader import TileStore


def test_real_slides_at_half_a_micrometre(shared_data, run_tile, tmp_path):
    report = run_tile(shared_data / "slides", tile_px=224, workers=2)
    assert sorted(report.written) == ["cmu_small_region", "fluorescence_dapi"]
    no_mpp = "the slide states no mpp, and none is guessed"
    reasons = {
        "bone_marrow_jpeg": "16.78 um/px, but 0.5 um/px were asked",
        "camelyon_overview_jpeg2000": "28.97 um/px, but 0.5 um/px were asked",
        "flat_he": no_mpp,
        "flat_ink": no_mpp,
        "tcga-cr-7395-01a-01-ts1": no_mpp,
    }
    assert sorted(report.failed) == sorted(reasons)
    for name, reason in reasons.items():
        assert reason in report.failed[name], name
    store = TileStore(tmp_path / "s.zarr")
    assert [slide.vendor for slide in store.slides] == ["aperio", "hamamatsu"]
    assert store.slides[0].mpp == pytest.approx(0.499)
    tiles = store.read_tiles([0] * store.slides[0].n_tiles, range(store.slides[0].n_tiles))
    with OpenSlide(shared_data / "slides" / "cmu_small_region.svs") as slide:
        for tile, (x, y) in zip(tiles, store.slide_table(0, "level0_xy").tolist(), strict=True):
            region = slide.read_region((x, y), 0, (224, 224)).convert("RGB")
            np.testing.assert_array_equal(tile, np.asarray(region))


def test_real_dicom_slides_at_their_own_scale(shared_data, run_tile):
    dicom = sorted((shared_data / "slides").glob("*.dcm"))
    report = run_tile(*dicom, mpp=30.0, tile_px=64, min_tissue=0.1)
    assert sorted(report.written) == ["bone_marrow_jpeg", "camelyon_overview_jpeg2000"]
    assert report.failed == {}
