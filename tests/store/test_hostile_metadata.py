import json
import shutil
import tracemalloc

import numpy as np
import pytest

from medsimclr.errors import IntegrityError, NoInputError
from medsimclr.store.reader import TileStore

_SENTENCE = (
    r"zarr\.json' must be the zarr\.json of a medsimclr tile store \(schema 2\): .*{}.*; give"
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
        (("zarr_format",), 2, "zarr_format: Input should be 3"),
        (("node_type",), "array", "node_type: Input should be 'group'"),
        (("attributes",), None, "attributes: Input should be an object"),
        (("attributes",), {}, "attributes.medsimclr: Field required"),
        (_META, [], "attributes.medsimclr: Input should be an object"),
        ((*_META, "schema"), 1, "schema: Input should be 2"),
        ((*_META, "tile_px"), 10**9, "tile_px: .*less than or equal to 4096"),
        ((*_META, "tile_px"), -8, "tile_px: .*greater than or equal to 8"),
        ((*_META, "mpp"), float("nan"), "mpp: "),
        ((*_META, "mpp"), float("inf"), "mpp: .*finite number"),
        ((*_META, "command"), "rm", "command: Extra inputs are not permitted"),
        ((*_META, "tiling"), {}, "codec must be one of jpeg, zstd, raw, got None"),
        ((*_META, "tiling"), {"codec": "pickle"}, "codec must be one of .*, got 'pickle'"),
        ((*_META, "classes"), "tumor", "classes: .*valid array"),
        ((*_META, "classes"), ["a", "c"], "its content is not what was written"),
        ((*_META, "shard_tiles"), 10**6, "shard_tiles: .*less than or equal to 4096"),
    ],
)
def test_a_hostile_root_is_refused_with_a_sentence(store, keys, value, reason):
    _change(store / "zarr.json", keys, value)
    with pytest.raises(IntegrityError, match=_SENTENCE.format(reason)):
        TileStore(store)


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (("zarr_format",), 2, "zarr_format: Input should be 3"),
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


def test_a_slide_with_the_metadata_of_another_is_refused(store):
    shutil.copy(store / "a" / "zarr.json", store / "b" / "zarr.json")
    with pytest.raises(IntegrityError, match="expected the metadata of 'b', got 'a'"):
        TileStore(store)


@pytest.mark.parametrize(
    ("key", "value"), [("patient", "p2"), ("n_tiles", 3), ("mpp", 0.25), ("digests", {})]
)
def test_a_changed_value_is_refused_though_it_is_allowed(store, key, value):
    _change(store / "b" / "zarr.json", (*_META, key), value)
    with pytest.raises(IntegrityError, match="its content is not what was written"):
        TileStore(store)


def test_attributes_of_other_tools_and_another_layout_do_not_matter(store):
    _change(store / "b" / "zarr.json", ("attributes", "multiscales"), [1])
    document = json.loads((store / "zarr.json").read_text())
    (store / "zarr.json").write_text(json.dumps(document, indent=7, sort_keys=True))
    assert len(TileStore(store).slides) == 2


@pytest.mark.parametrize("change", [-1, 1, 1000])
def test_another_number_of_tiles_is_refused_at_reading(store, change, forge):
    forge(store / "b" / "zarr.json", n_tiles=2 + change)
    with pytest.raises(IntegrityError, match=r"label/c/0' is damaged: expected \d+ bytes, got \d"):
        TileStore(store).table("label")


@pytest.mark.parametrize(
    "key",
    [
        "../../x",
        "/etc/passwd",
        "label/../../a/label/c/0",
        "label//c/0",
        "label/./c/0",
        "images/c/x/0/0/0",
        "images/c/-1/0/0/0",
        "images/c/\u0661/0/0/0",
        "label/c/0\n",
        "label\\c/0",
        "zarr.json",
        "",
    ],
)
def test_a_digest_of_no_file_of_ours_is_refused(store, key, forge):
    forge(store / "b" / "zarr.json", digests={key: "0" * 64})
    with pytest.raises(IntegrityError, match=r"(?s)digests\..*: String should match pattern"):
        TileStore(store)


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n"])
def test_a_digest_that_is_no_sha256_is_refused(store, digest, forge):
    forge(store / "b" / "zarr.json", digests={"label/c/0": digest})
    with pytest.raises(IntegrityError, match=r"digests\.label/c/0: String should match pattern"):
        TileStore(store)


def test_a_huge_number_of_tiles_is_refused_before_memory_is_taken(store, forge):
    forge(store / "b" / "zarr.json", n_tiles=2**31)
    opened = TileStore(store)
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError, match="expected 34359738372 bytes, got 36;"):
            opened.slide_table(1, "level0_xy")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1 << 20


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"3", b"\xff\xfe{}", b"[" * 200_000, b"1" * 9999]
)
def test_a_root_that_is_no_json_object_is_refused(store, content):
    (store / "zarr.json").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"must be the zarr\.json of a medsimclr tile store"):
        TileStore(store)


def test_a_huge_root_is_refused_unread(store, monkeypatch):
    monkeypatch.setattr("medsimclr.store.schema._MAX_JSON_BYTES", 100)
    with pytest.raises(IntegrityError, match=r"expected at most 100 bytes, got \d"):
        TileStore(store)


def test_a_link_to_a_slide_elsewhere_is_not_followed(store, tmp_path):
    shutil.move(store / "b", tmp_path / "b")
    (store / "b").symlink_to(tmp_path / "b")
    assert [slide.slide_id for slide in TileStore(store).slides] == ["a"]
    shutil.rmtree(store / "a")
    with pytest.raises(NoInputError, match="at least one committed slide"):
        TileStore(store)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ([4, 6], "expected 24 bytes, got 20"),
        ([8, 5], "expected 40 bytes, got 20"),
        ([2**40, 2**40], "less than or equal to 8192"),
        ([4], "mask cannot have the shape|at least 2 items"),
        ([4, 5, 3], "mask cannot have the shape"),
        ([0, 5], "greater than or equal to 1"),
    ],
)
def test_a_picture_of_another_shape_is_refused(tmp_path, write_store, noise, forge, shape, reason):
    path = write_store(
        tmp_path / "s.zarr", {"s": noise(2, 8)}, pictures={"mask": np.ones((4, 5), np.uint8)}
    )
    forge(path / "s" / "zarr.json", pictures={"mask": shape})
    with pytest.raises(IntegrityError, match=reason):
        TileStore(path).picture(0, "mask")


def test_a_picture_that_a_slide_lacks_is_named(store):
    with pytest.raises(IntegrityError, match="a/mask' is damaged: the slide has no such picture"):
        TileStore(store).picture(0, "mask")
