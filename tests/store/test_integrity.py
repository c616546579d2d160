import re
import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs.zstd import Zstd

from medsimclr.errors import IntegrityError
from medsimclr.store.jpeg import encode_jpeg
from medsimclr.store.reader import TileStore
from medsimclr.store.shard_reader import repair_advice

_CODECS = ["jpeg", "zstd", "raw"]
_TABLES = {
    "label": "label/c/0",
    "level0_xy": "level0_xy/c/0/0",
    "tissue": "tissue/c/0",
    "quality": "quality/c/0/0",
    "coverage": "coverage/c/0/0",
}
_SHARD = "images/c/0/0/0/0"
_INDEX_BYTES = 256 * 16 + 4


@pytest.fixture(scope="module", params=_CODECS)
def small(request, tmp_path_factory, write_store, noise):
    """A store of three tiles of 8 px, with what it reads while it is whole."""
    images = {"s": noise(3, 8)}
    pictures = {
        "mask": np.eye(9, dtype=np.uint8),
        "thumbnail": np.arange(9 * 9 * 3, dtype=np.uint8).reshape(9, 9, 3),
    }
    path = tmp_path_factory.mktemp("small") / "s.zarr"
    write_store(path, images, codec=request.param, pictures=pictures)
    return request.param, path, TileStore(path).read_tiles([0, 0, 0], [0, 1, 2])


class _Damage:
    """The file with other bytes, for the time of a with statement."""

    def __init__(self, path, content):
        self.path, self.content = path, content
        self.whole = path.read_bytes()

    def __enter__(self):
        self.path.unlink() if self.content is None else self.path.write_bytes(self.content)

    def __exit__(self, *_):
        self.path.write_bytes(self.whole)


def _flipped(content, byte, bit):
    changed = bytearray(content)
    changed[byte] ^= 1 << bit
    return bytes(changed)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), bit=st.integers(0, 7))
def test_a_flipped_bit_of_a_shard_never_changes_a_tile(small, data, bit):
    # zstd has bits that no decoder reads (RFC 8878, 3.1.1.1.1.4): there the pixels stay right.
    codec, path, whole_NHW3 = small
    file = path / "s" / _SHARD
    content = file.read_bytes()
    byte = data.draw(
        st.integers(0, len(content) - 1) | st.integers(0, len(content) - _INDEX_BYTES - 1)
    )
    refused = set()
    with _Damage(file, _flipped(content, byte, bit)):
        for row in range(3):
            try:
                tile = TileStore(path).read_tiles([0], [row])[0]
            except IntegrityError:
                refused.add(row)
            else:
                np.testing.assert_array_equal(tile, whole_NHW3[row])
    if byte >= len(content) - _INDEX_BYTES:
        assert refused == {0, 1, 2}
    elif codec != "zstd":
        assert len(refused) == 1


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(sorted(_TABLES)), data=st.data(), bit=st.integers(0, 7))
def test_a_flipped_bit_of_a_table_is_refused(small, name, data, bit):
    _, path, _ = small
    file = path / "s" / _TABLES[name]
    content = file.read_bytes()
    byte = data.draw(st.integers(0, len(content) - 1))
    with (
        _Damage(file, _flipped(content, byte, bit)),
        pytest.raises(IntegrityError, match=r"is damaged: it fails its crc32c"),
    ):
        TileStore(path).table(name)


@pytest.mark.parametrize(
    ("key", "read"),
    [
        (_SHARD, lambda store: store.read_tiles([0], [0])),
        (_TABLES["label"], lambda store: store.table("label")),
        ("mask/c/0/0", lambda store: store.picture(0, "mask")),
    ],
)
@pytest.mark.parametrize("content", [None, b"short"])
def test_a_damaged_file_is_answered_with_the_command_that_mends_it(small, key, read, content):
    _, path, _ = small
    command = re.escape(f"run `medsimclr verify {path} SLIDES --repair` with the slides, --annot")
    with _Damage(path / "s" / key, content), pytest.raises(IntegrityError, match=command):
        read(TileStore(path))


def test_the_command_that_mends_a_store_can_be_pasted():
    assert "`medsimclr verify 'my store.zarr' SLIDES --repair`" in repair_advice(
        Path("my store.zarr")
    )


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(["mask", "thumbnail"]), data=st.data(), bit=st.integers(0, 7))
def test_a_flipped_bit_of_a_picture_never_changes_it(small, name, data, bit):
    _, path, _ = small
    whole = TileStore(path).picture(0, name)
    (file,) = [file for file in (path / "s" / name / "c").rglob("*") if file.is_file()]
    content = file.read_bytes()
    byte = data.draw(st.integers(0, len(content) - 1))
    with _Damage(file, _flipped(content, byte, bit)):
        try:
            picture = TileStore(path).picture(0, name)
        except IntegrityError:
            return
    np.testing.assert_array_equal(picture, whole)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from([_SHARD, *_TABLES.values()]))
def test_a_truncated_or_longer_file_is_refused(small, data, name):
    _, path, _ = small
    file = path / "s" / name
    content = file.read_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    for changed in (content[:cut], content + b"\0"):
        with _Damage(file, changed), pytest.raises(IntegrityError, match="is damaged"):
            _read_all(path)


@pytest.mark.parametrize("name", [_SHARD, *_TABLES.values(), "mask/c/0/0", "thumbnail/c/0/0/0"])
def test_a_deleted_file_is_refused_and_never_read_as_zeros(small, name):
    _, path, _ = small
    with (
        _Damage(path / "s" / name, None),
        pytest.raises(IntegrityError, match=r"must be there|is damaged"),
    ):
        _read_all(path)


def test_a_tile_beyond_the_last_is_refused(small):
    _, path, _ = small
    for row in (3, 255, 256, -1):
        with pytest.raises(IntegrityError, match=r"is absent|must be there"):
            TileStore(path).read_tiles([0], [row])


def test_a_link_in_place_of_a_shard_is_refused(small, tmp_path):
    _, path, _ = small
    file = path / "s" / _SHARD
    with _Damage(file, None):
        (tmp_path / "elsewhere").write_bytes(b"x" * 9999)
        file.symlink_to(tmp_path / "elsewhere")
        try:
            with pytest.raises(IntegrityError, match="must be there"):
                TileStore(path).read_tiles([0], [0])
        finally:
            file.unlink()


_WRONG_CHUNKS = {
    "jpeg": lambda: [
        encode_jpeg(np.zeros((16, 16, 3), np.uint8), quality=95),
        encode_jpeg(np.zeros((8, 4, 3), np.uint8), quality=95),
        encode_jpeg(np.zeros((64, 64, 3), np.uint8), quality=95),
        b"no JPEG",
        b"",
    ],
    "zstd": lambda: [
        bytes(Zstd(level=3, checksum=True).encode(np.zeros(n, np.uint8)))
        for n in (1, 191, 193, 10**8)
    ],
    "raw": lambda: [b"", bytes(191), bytes(193)],
}


def test_a_forged_chunk_of_another_size_is_refused(small):
    codec, path, _ = small
    file = path / "s" / _SHARD
    for chunk in _WRONG_CHUNKS[codec]():
        if codec != "zstd":
            chunk += google_crc32c.value(chunk).to_bytes(4, "little")
        with (
            _Damage(file, _forged_shard(chunk)),
            pytest.raises(IntegrityError, match=r"does not decode|is damaged"),
        ):
            TileStore(path).read_tiles([0], [0])


@pytest.mark.parametrize("offset", [10**6, 2**63, 2**64 - 2])
def test_a_forged_index_that_points_outside_is_refused(small, offset):
    _, path, _ = small
    forged = _forged_shard(b"abc", offset=offset)
    with (
        _Damage(path / "s" / _SHARD, forged),
        pytest.raises(IntegrityError, match=r"lie outside its \d+ bytes"),
    ):
        TileStore(path).read_tiles([0], [0])


def _forged_shard(chunk, *, offset=0):
    empty = 2**64 - 1
    index = struct.pack("<512Q", offset, len(chunk), *[empty] * 510)
    return chunk + index + google_crc32c.value(index).to_bytes(4, "little")


def _read_all(path):
    store = TileStore(path)
    store.read_tiles([0, 0, 0], [0, 1, 2])
    for name in _TABLES:
        store.table(name)
    for name in ("mask", "thumbnail"):
        store.picture(0, name)
