import json
import shutil

import pytest

from medsimclr.errors import IntegrityError, NoInputError
from medsimclr.store.reader import TileStore

_SENTENCE = (
    r"zarr\.json' must be the zarr\.json of a medsimclr tile store \(schema 1\): .*{}.*; give"
)


@pytest.fixture
def store(tmp_path, write_store, noise):
    return write_store(tmp_path / "s.zarr", {"a": noise(2, 8), "b": noise(2, 8)})


def _change(path, keys, value):
    document = json.loads(path.read_text())
    inner = document
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(document))


_META = ("attributes", "medsimclr")


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (("zarr_format",), 2, "it is no zarr v3 group"),
        (("node_type",), "array", "it is no zarr v3 group"),
        (("attributes",), None, "not subscriptable"),
        (("attributes",), {}, "missing 'medsimclr'"),
        (_META, [], "attributes: .*valid dictionary"),
        ((*_META, "schema"), 2, "schema: Input should be 1"),
        ((*_META, "tile_px"), 10**9, "tile_px: .*less than or equal to 4096"),
        ((*_META, "tile_px"), -8, "tile_px: .*greater than or equal to 8"),
        ((*_META, "mpp"), float("nan"), "mpp: "),
        ((*_META, "mpp"), float("inf"), "mpp: .*finite number"),
        ((*_META, "command"), "rm", "command: Extra inputs are not permitted"),
        ((*_META, "tiling"), {}, "codec must be one of jpeg, zstd, raw, got None"),
        ((*_META, "tiling"), {"codec": "pickle"}, "codec must be one of .*, got 'pickle'"),
        ((*_META, "classes"), "tumor", "classes: .*valid list"),
    ],
)
def test_a_hostile_root_is_refused_with_a_sentence(store, keys, value, reason):
    _change(store / "zarr.json", keys, value)
    with pytest.raises(IntegrityError, match=_SENTENCE.format(reason)):
        TileStore(store)


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (("zarr_format",), 2, "it is no zarr v3 group"),
        ((*_META, "n_tiles"), 0, "n_tiles: .*greater than or equal to 1"),
        ((*_META, "n_tiles"), 2**40, "n_tiles: .*less than or equal to"),
        ((*_META, "slide_id"), "../../etc", "slide_id: String should match"),
        ((*_META, "host"), "me", "host: Extra inputs are not permitted"),
        ((*_META, "dimensions_level0_xy"), [1], r"dimensions_level0_xy\.1: Field required"),
    ],
)
def test_a_hostile_slide_is_refused_with_a_sentence(store, keys, value, reason):
    _change(store / "b" / "zarr.json", keys, value)
    with pytest.raises(IntegrityError, match=_SENTENCE.format(reason)):
        TileStore(store)


@pytest.mark.parametrize("slide_id", ["..", "a"])
def test_a_slide_that_points_to_another_folder_is_refused(store, slide_id):
    _change(store / "b" / "zarr.json", (*_META, "slide_id"), slide_id)
    with pytest.raises(IntegrityError, match=f"expected the metadata of 'b', got '{slide_id}'"):
        TileStore(store)


@pytest.mark.parametrize("change", [-1, 1, 1000])
def test_another_number_of_tiles_is_refused_at_reading(store, change):
    _change(store / "b" / "zarr.json", (*_META, "n_tiles"), 2 + change)
    with pytest.raises(IntegrityError, match=r"label/c/0' is damaged: expected \d+ bytes, got 8"):
        TileStore(store).table("label")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"3", b"\xff\xfe{}", b"[" * 200_000, b"1" * 9999]
)
def test_a_root_that_is_no_json_object_is_refused(store, content):
    (store / "zarr.json").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"must be the zarr\.json of a medsimclr tile store"):
        TileStore(store)


def test_a_huge_root_is_refused_unread(store, monkeypatch):
    monkeypatch.setattr("medsimclr.store.schema._MAX_JSON_BYTES", 100)
    with pytest.raises(IntegrityError, match="it has more than 100 bytes"):
        TileStore(store)


def test_a_link_to_a_slide_elsewhere_is_not_followed(store, tmp_path):
    shutil.move(store / "b", tmp_path / "b")
    (store / "b").symlink_to(tmp_path / "b")
    assert [slide.slide_id for slide in TileStore(store).slides] == ["a"]
    shutil.rmtree(store / "a")
    with pytest.raises(NoInputError, match="at least one committed slide"):
        TileStore(store)


def test_a_picture_with_hostile_metadata_is_refused(tmp_path, write_store, noise):
    import numpy as np

    path = write_store(
        tmp_path / "s.zarr", {"s": noise(2, 8)}, pictures={"mask": np.ones((4, 5), np.uint8)}
    )
    whole = (path / "s" / "mask" / "zarr.json").read_text()
    for keys, value in [
        (("shape",), [4, 6]),
        (("shape",), [8, 5]),
        (("shape",), [2**40, 2**40]),
        (("chunk_grid", "configuration", "chunk_shape"), [2, 5]),
        (("zarr_format",), 2),
        (("node_type",), "group"),
        (("data_type",), "float64"),
        (("codecs",), [{"name": "no_such_codec"}]),
        (("codecs",), []),
    ]:
        (path / "s" / "mask" / "zarr.json").write_text(whole)
        _change(path / "s" / "mask" / "zarr.json", keys, value)
        with pytest.raises(IntegrityError, match="is damaged"):
            TileStore(path).picture(0, "mask")
    (path / "s" / "mask" / "zarr.json").write_text("{")
    with pytest.raises(IntegrityError, match="is damaged"):
        TileStore(path).picture(0, "mask")
