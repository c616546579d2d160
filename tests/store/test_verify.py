import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsimclr.errors import IntegrityError
from medsimclr.store.verify import verify_store

_N_TILES, _SHARD_TILES = 22, 5
_N_SHARDS = 5


@pytest.fixture(scope="module", params=["jpeg", "zstd", "raw"])
def store(request, tmp_path_factory, write_store, noise):
    """A store of two slides of five shards each."""
    path = tmp_path_factory.mktemp("verify") / "s.zarr"
    images = {"a": noise(_N_TILES, 8), "b": noise(_N_TILES, 8, seed=1)}
    pictures = {"mask": np.eye(6, dtype=np.uint8), "thumbnail": np.ones((6, 6, 3), np.uint8)}
    return write_store(
        path, images, codec=request.param, shard_tiles=_SHARD_TILES, pictures=pictures
    )


class _Changed:
    def __init__(self, file, content):
        self.file, self.content, self.whole = file, content, file.read_bytes()

    def __enter__(self):
        self.file.unlink() if self.content is None else self.file.write_bytes(self.content)

    def __exit__(self, *_):
        self.file.write_bytes(self.whole)


def _flipped(content, position, bit):
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    return bytes(changed)


def test_a_whole_store_has_no_damage(store):
    found = verify_store(store)
    assert (found.n_slides, found.n_tiles, found.damages) == (2, 2 * _N_TILES, [])
    assert found.n_files == sum(path.is_file() for path in store.rglob("*")) - 1


def test_400_of_400_deleted_or_flipped_shards_are_found_and_named(store):
    generator = np.random.default_rng(0)
    for trial in range(400):
        slide, shard = generator.choice(["a", "b"]), int(generator.integers(_N_SHARDS))
        file = store / slide / f"images/c/{shard}/0/0/0"
        content = file.read_bytes()
        position, bit = int(generator.integers(len(content))), int(generator.integers(8))
        is_deleted = trial % 4 == 0
        with _Changed(file, None if is_deleted else _flipped(content, position, bit)):
            (damage,) = verify_store(store).damages
        assert (damage.slide_id, damage.file) == (slide, f"images/c/{shard}/0/0/0")
        rows = range(_SHARD_TILES * shard, min(_SHARD_TILES * (shard + 1), _N_TILES))
        assert damage.tiles
        assert set(damage.tiles) <= set(rows)
        if is_deleted:
            assert damage.tiles == tuple(rows)
            assert "is missing (tile" in str(damage)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), bit=st.integers(0, 7))
def test_any_flipped_bit_of_any_file_of_a_slide_is_found(store, data, bit):
    files = sorted(path for path in (store / "a").rglob("*") if path.is_file())
    file = data.draw(st.sampled_from(files))
    content = file.read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    changed = _flipped(content, position, bit)
    with _Changed(file, changed):
        found = verify_store(store)
    name = file.relative_to(store / "a").as_posix()
    if name == "zarr.json" and not found.damages:
        # Outside of what it says: a key of zarr's own may still hold what it must.
        assert changed.split(b'"medsimclr"')[1] == content.split(b'"medsimclr"')[1]
        return
    assert {(damage.slide_id, damage.file) for damage in found.damages} == {("a", name)}


def test_a_damaged_tile_is_named_alone(store):
    file = store / "b" / "images/c/1/0/0/0"
    content = file.read_bytes()
    with _Changed(file, _flipped(content, 9, 0)):
        (damage,) = verify_store(store).damages
    assert damage.tiles == (5,)
    assert str(damage) == "slide b: images/c/1/0/0/0 is not what was written (tile 5)"


def test_a_whole_shard_of_another_slide_in_its_place_is_found(store):
    file = store / "b" / "images/c/1/0/0/0"
    with _Changed(file, (store / "a" / "images/c/1/0/0/0").read_bytes()):
        (damage,) = verify_store(store).damages
    assert damage.tiles == (5, 6, 7, 8, 9)
    assert str(damage).endswith("is not what was written (tiles 5 to 9)")


def test_files_that_do_not_belong_there_and_links_are_found(store, tmp_path):
    stranger = store / "a" / "images" / "stranger"
    stranger.write_text("?")
    file = store / "b" / "label/c/0"
    content = file.read_bytes()
    (tmp_path / "elsewhere").write_bytes(content)
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    try:
        shown = [str(damage) for damage in verify_store(store).damages]
    finally:
        stranger.unlink()
        file.unlink()
        file.write_bytes(content)
    assert shown == [
        "slide a: images/stranger does not belong there",
        "slide b: label/c/0 cannot be read: '0' is a link, and links are not followed",
    ]


def test_a_slide_that_lost_its_metadata_or_was_never_finished_is_found(store):
    (store / "half").mkdir()
    try:
        with _Changed(store / "a" / "zarr.json", None):
            found = verify_store(store)
    finally:
        (store / "half").rmdir()
    assert [str(damage) for damage in found.damages] == [
        f"slide {name}: zarr.json is missing: lost, or the slide was never finished"
        for name in ("a", "half")
    ]


def test_a_damaged_root_is_refused(store):
    with (
        _Changed(store / "zarr.json", b"{"),
        pytest.raises(IntegrityError, match=r"must be the zarr\.json of a medsimclr tile store"),
    ):
        verify_store(store)
