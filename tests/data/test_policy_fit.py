import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.macenko import SlideStain
from medsimclr.augment.stain_statistics import TemplateStatistics
from medsimclr.config.base import load_toml, resolve
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.data.policy_fit import fit_policy, spread_rows, training_slides
from medsimclr.errors import IntegrityError, PolicyError, SplitError
from medsimclr.store.reader import TileStore
from tests.policy_file import write_policy
from tests.tiny_store import write_tiny_store
from tests.tissue_images import tissue_images

_RECORDS_ALL = (
    "seen = [(name, tiles.shape) for name, tiles in slides]; "
    "return {'names': [n for n, _ in seen], 'shapes': [s for _, s in seen]}"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("fit") / "tissue.zarr"
    return TileStore(write_tiny_store(place, n_patients=4, images_of=tissue_images))


def _fitted(spec, store, *, slides=(0, 1, 2, 3), n_tiles=8, seed=0, **options):
    return fit_policy(
        spec, store, slide_indices=list(slides), options=options, n_tiles=n_tiles, seed=seed
    )


@pytest.mark.parametrize(
    ("name", "option"), [("rand_stain_na", {"strength": 0.5}), ("stain_mix", {"exchange_p": 0.5})]
)
def test_the_file_gives_pretraining_the_policy_that_was_fitted(store, tmp_path, name, option):
    path = tmp_path / "stats.toml"
    path.write_text(_fitted(name, store, **option).toml)

    flags = {"store": store.path, "out": tmp_path / "run"}
    config = resolve(PretrainConfig, flags=flags, toml=path)
    policy = load_policy(config.policy, options=config.policy_options)

    chosen = {index: spread_rows(12, 8, seed=(0, index)) for index in range(4)}
    tiles = [(f"slide_{i}", store.read_tiles([i] * 8, rows)) for i, rows in chosen.items()]
    fields = type(policy).fit(tiles)
    assert config.policy == name
    assert policy == load_policy(name, options={**option, **fields})
    assert policy != load_policy(name, options=option)


def test_nested_dataclasses_and_tuples_come_back_as_such(store, tmp_path):
    for name in ("rand_stain_na", "stain_mix"):
        (tmp_path / f"{name}.toml").write_text(_fitted(name, store).toml)
    templates, stains = (
        load_policy(name, options=load_toml(tmp_path / f"{name}.toml")["policy_options"]).statistics
        for name in ("rand_stain_na", "stain_mix")
    )
    assert isinstance(templates, TemplateStatistics)
    assert isinstance(templates.lab.mean_center, tuple)
    assert isinstance(stains, tuple)
    assert [type(stain) for stain in stains] == [SlideStain] * 4
    assert isinstance(stains[0].od_covariance[0], tuple)


def test_only_tiles_of_training_patients_reach_the_fit(store, tmp_path):
    split = tmp_path / "split.csv"
    split.write_text("patient,split\nP0,train\nP1,test\nP2,train\nP3,test\n")
    slides = training_slides(store, split)
    fitted = _fitted(write_policy(tmp_path, fit=_RECORDS_ALL), store, slides=slides, n_tiles=5)
    (tmp_path / "stats.toml").write_text(fitted.toml)

    assert training_slides(store, None) == [0, 1, 2, 3]
    options = load_toml(tmp_path / "stats.toml")["policy_options"]
    assert options == {"names": ["slide_0", "slide_2"], "shapes": [[5, 36, 36, 3]] * 2}
    assert (fitted.n_slides, fitted.n_tiles) == (2, 10)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("P0,train\nP1,test\n", "must name every patient of the store, got no part for 'P2'"),
        ("P0,test\nP1,test\nP2,test\nP3,test\n", "must leave the train part a patient"),
    ],
)
def test_a_split_that_does_not_fit_the_store_is_refused(store, tmp_path, lines, message):
    split = tmp_path / "split.csv"
    split.write_text(f"patient,split\n{lines}")
    with pytest.raises(SplitError, match=message):
        training_slides(store, split)


def test_a_slide_is_read_when_the_fit_asks_for_it(store, tmp_path, monkeypatch):
    reads = []
    read = TileStore.read_tiles

    def counting(self, slide_indices, rows):
        reads.append(slide_indices)
        return read(self, slide_indices, rows)

    monkeypatch.setattr(TileStore, "read_tiles", counting)
    _fitted(write_policy(tmp_path, fit="next(iter(slides)); return {}"), store)
    assert reads == [[0] * 8]


@given(n_rows=st.integers(1, 500), n_chosen=st.integers(1, 100), seed=st.integers(0, 2**32 - 1))
def test_rows_are_spread_evenly_over_a_slide(n_rows, n_chosen, seed):
    rows = spread_rows(n_rows, n_chosen, seed=(seed, 3))
    assert rows == spread_rows(n_rows, n_chosen, seed=(seed, 3))
    assert len(rows) == min(n_rows, n_chosen)
    for place, row in enumerate(rows):
        assert place * n_rows // len(rows) <= row < (place + 1) * n_rows // len(rows)


def test_rows_differ_with_the_seed_and_all_are_taken_where_they_are_few():
    assert spread_rows(1000, 10, seed=(0, 0)) != spread_rows(1000, 10, seed=(1, 0))
    assert spread_rows(7, 32, seed=(0, 0)) == list(range(7))


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        ("return 3", "must return a dictionary of fields, got 3"),
        ("return {'names': {1, 2}}", "must return fields that TOML can hold: TypeError"),
        ("return {'nams': ['a']}", "unknown option 'nams'"),
        ("return {'names': [1]}", "option 'names' of augmentation policy"),
        ("raise KeyError('x')", "cannot be fitted to 4 slides of .*: KeyError: 'x'. Give slides"),
    ],
)
def test_a_fit_that_is_no_fit_is_refused_in_a_sentence(store, tmp_path, fit, message):
    with pytest.raises(PolicyError, match=message):
        _fitted(write_policy(tmp_path, fit=fit), store)


@pytest.mark.parametrize("name", ["rand_stain_na", "stain_mix"])
def test_a_store_without_tissue_is_refused_in_a_sentence(tmp_path, name):
    def white(number, side_px, seed):
        return np.full((number, side_px, side_px, 3), 245, np.uint8)

    store = TileStore(write_tiny_store(tmp_path / "w.zarr", n_patients=2, images_of=white))
    with pytest.raises(PolicyError, match=f"'{name}' cannot be fitted to 2 slides of .* tissue"):
        _fitted(name, store, slides=[0, 1])


def test_a_policy_without_fit_is_refused_in_a_sentence(store):
    with pytest.raises(PolicyError, match="'simclr' has nothing to fit: SimCLRPolicy must have"):
        _fitted("simclr", store)


def test_a_damaged_tile_is_said_as_such(store, tmp_path):
    path = shutil.copytree(store.path, tmp_path / "damaged.zarr")
    (shard,) = (path / "slide_1" / "images").rglob("c/0/0/0/0")
    content = bytearray(shard.read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    shard.write_bytes(content)
    with pytest.raises(IntegrityError, match="slide_1"):
        _fitted("stain_mix", TileStore(path))
