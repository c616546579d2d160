import numpy as np
import pytest

from medsimclr.augment.stain_amount import mean_amounts
from medsimclr.data.stain_groups import stain_groups
from medsimclr.errors import NoInputError
from medsimclr.store.reader import TileStore
from tests.tiny_store import write_tiny_store
from tests.tissue_images import shifted_images


def _store(path, **settings):
    settings = {"images_of": shifted_images, "n_patients": 4, **settings}
    return TileStore(write_tiny_store(path / "tiny.zarr", **settings))


def _groups(store, *, n_tiles=8, seed=0, slide_indices=None):
    indices = range(len(store.slides)) if slide_indices is None else slide_indices
    return stain_groups(store, slide_indices=indices, view_px=18, n_tiles=n_tiles, seed=seed)


def _flat(level):
    def images_of(number, side_px, seed):
        return np.full((number, side_px, side_px, 3), level, np.uint8)

    return images_of


def test_centres_are_compared_where_they_are_known(tmp_path):
    found = _groups(_store(tmp_path, centres=["B", None, "A"]))
    # Patients take the centres in turn: B has the first and the fourth, the second has none.
    assert found.kind == "centre"
    assert [(group.name, group.n_slides) for group in found.groups] == [("A", 1), ("B", 2)]
    assert found.without_group == ("slide_1",)
    assert found.left_out_notes() == ["1 slides are left out, whose centre is not known: slide_1."]


def test_patients_are_compared_where_there_is_one_centre(tmp_path):
    store = _store(tmp_path)
    assert [group.name for group in _groups(store).groups] == ["P0", "P1", "P2", "P3"]
    chosen = _groups(store, slide_indices=[1, 3])
    assert (chosen.kind, [group.name for group in chosen.groups]) == ("patient", ["P1", "P3"])


def test_slides_are_compared_where_no_patient_is_known(tmp_path, monkeypatch):
    store = _store(tmp_path)
    unknown = [slide.model_copy(update={"patient": None}) for slide in store.slides]
    monkeypatch.setattr(store, "slides", unknown)
    found = _groups(store)
    assert (found.kind, found.groups[0].name) == ("slide", "slide_0")


def test_a_group_holds_its_tiles_their_amounts_and_pixels(tmp_path):
    store = _store(tmp_path)
    (group, *_) = _groups(store, n_tiles=12).groups
    assert group.tiles_NVV3.shape == (12, 18, 18, 3)
    np.testing.assert_array_equal(group.amount_N3, mean_amounts(group.tiles_NVV3))
    np.testing.assert_array_equal(
        group.pixels_P3, store.read_tiles([0] * 12, range(12)).reshape(-1, 3)
    )


def test_the_seed_chooses_the_tiles(tmp_path):
    store = _store(tmp_path)
    first, again, other = (_groups(store, n_tiles=4, seed=seed).groups for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[0].tiles_NVV3, again[0].tiles_NVV3)
    assert not np.array_equal(first[0].tiles_NVV3, other[0].tiles_NVV3)


def test_of_many_groups_those_with_the_most_tiles_are_compared(tmp_path):
    found = _groups(_store(tmp_path, n_patients=26, tiles_per_patient=2))
    assert (len(found.groups), found.n_smaller) == (24, 2)
    assert found.left_out_notes() == [
        "24 patients with the most tiles were looked at, 2 others left out."
    ]


def test_a_group_without_tissue_is_left_out(tmp_path):
    def images_of(number, side_px, seed):
        make = _flat(250) if seed == 1 else shifted_images
        return make(number, side_px, seed)

    found = _groups(_store(tmp_path, images_of=images_of))
    assert [group.name for group in found.groups] == ["P0", "P2", "P3"]
    assert (found.n_smaller, found.without_tissue) == (0, ("P1",))
    assert found.left_out_notes() == ["1 patients without stained tissue are left out: P1."]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"n_patients": 1}, "must hold at least 2 slides to compare their stains, got 1;"),
        ({"images_of": _flat(250)}, "at least 2 patients with stained tissue to compare, got 0;"),
        ({"images_of": _flat(3)}, "got mostly black tiles of 4 of 4 patients, as of fluorescence"),
    ],
)
def test_what_cannot_be_compared_gets_a_sentence(tmp_path, settings, sentence):
    with pytest.raises(NoInputError, match=sentence):
        _groups(_store(tmp_path, **settings))


def test_natural_images_get_a_sentence(tmp_path, monkeypatch):
    store = _store(tmp_path)
    as_tiles = [slide.model_copy(update={"unit": "tile"}) for slide in store.slides]
    monkeypatch.setattr(store, "slides", as_tiles)
    with pytest.raises(NoInputError, match="to compare their stains, got natural images"):
        _groups(store)
