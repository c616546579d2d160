"""Links, pipes and unreadable files in a store: refused, named, not followed, not waited for."""

import contextlib
import errno
import os
import shutil
from pathlib import Path

import pytest

from medsimclr.errors import IntegrityError
from medsimclr.store import safe_open
from medsimclr.store.reader import TileStore, read_root_meta, read_slide_meta
from medsimclr.store.safe_open import open_below, read_below, sha256_below
from medsimclr.store.verify import verify_store

_PLACES = ["images", "images/c", "images/c/0", "images/c/0/0/0/0", "label", "label/c", "label/c/0"]


@pytest.fixture
def store(tmp_path, write_store, noise):
    return write_store(tmp_path / "s.zarr", {"a": noise(2, 8), "b": noise(2, 8)})


def _link(path, elsewhere):
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


def _read_slide_b(path):
    store = TileStore(path)
    store.read_tiles([1], [0])
    store.slide_table(1, "label")


def _damages(path):
    return {(damage.slide_id, damage.file): damage.fact for damage in verify_store(path).damages}


@pytest.mark.parametrize("place", _PLACES)
def test_a_link_at_any_place_of_a_slide_is_not_followed(store, tmp_path, place):
    _link(store / "b" / place, tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match=r"is a link( or no folder)?, and links are not follo"):
        _read_slide_b(store)


@pytest.mark.parametrize("place", _PLACES)
def test_verify_reports_a_link_at_any_place_of_a_slide(store, tmp_path, place):
    _link(store / "b" / place, tmp_path / "elsewhere")
    found = _damages(store)
    file = "images/c/0/0/0/0" if place.startswith("images") else "label/c/0"
    assert "links are not followed" in found["b", file]
    if place != file:
        assert found["b", place] == "does not belong there"
    assert {slide_id for slide_id, _ in found} == {"b"}


def test_verify_names_a_slide_whose_folder_is_a_link(store, tmp_path):
    _link(store / "b", tmp_path / "elsewhere")
    found = verify_store(store)
    (damage,) = found.damages
    assert found.n_slides == 2
    assert str(damage) == "slide b: . is a link, which is not followed: its tiles are missing"


def test_a_slide_that_became_a_link_after_it_was_listed_is_not_followed(store, tmp_path):
    _link(store / "b", tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="'b' is a link or no folder, and links are not"):
        read_slide_meta(store, "b")


@pytest.mark.parametrize("place", ["zarr.json", "images/c/0/0/0/0", "label/c/0"])
def test_a_pipe_in_place_of_a_file_is_refused_at_once(store, place):
    _pipe(store / "b" / place)
    with pytest.raises(IntegrityError, match="it is no regular file"):
        _read_slide_b(store)
    assert "it is no regular file" in _damages(store)["b", place]


def test_a_pipe_or_link_in_place_of_the_root_is_refused_at_once(store, tmp_path):
    _link(store / "zarr.json", tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match=r"\(schema 2\): 'zarr.json' is a link, and links are"):
        read_root_meta(store)
    _pipe(store / "zarr.json")
    with pytest.raises(IntegrityError, match=r"\(schema 2\): it is no regular file; give"):
        read_root_meta(store)


def test_a_linked_store_and_one_named_by_a_relative_path_are_read(store, tmp_path, monkeypatch):
    (tmp_path / "link.zarr").symlink_to(store)
    _read_slide_b(tmp_path / "link.zarr")
    monkeypatch.chdir(store)
    _read_slide_b(Path())
    assert verify_store(Path()).damages == []


def _bad_sector(*_args):
    raise OSError(errno.EIO, "Input/output error")


def test_verify_names_a_file_that_cannot_be_read(store, monkeypatch):
    monkeypatch.setattr(safe_open.hashlib, "file_digest", _bad_sector)
    found = verify_store(store)
    assert len(found.damages) == found.n_files - found.n_slides
    assert "slide a: label/c/0 cannot be read: Input/output error" in map(str, found.damages)


def test_verify_names_files_that_may_not_be_opened(store, monkeypatch):
    really_open = os.open

    def refuse(path, flags, *, dir_fd=None):
        if path == "label":
            raise PermissionError(errno.EACCES, "Permission denied")
        return really_open(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(safe_open.os, "open", refuse)
    found = _damages(store)
    assert found["b", "label/c/0"] == "cannot be read: Permission denied"
    assert len(found) == 4


def test_verify_names_a_folder_in_place_of_a_file(store):
    (store / "b/label/c/0").unlink()
    (store / "b/label/c/0").mkdir()
    assert _damages(store) == {("b", "label/c/0"): "cannot be read: it is no regular file"}


def test_verify_names_a_folder_that_cannot_be_listed(store, monkeypatch):
    really_scan = os.scandir

    def refuse(path):
        if str(path).endswith("b/label"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really_scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert _damages(store) == {("b", "label"): "cannot be listed: Permission denied"}


def test_a_tile_in_a_bad_sector_is_refused(store, monkeypatch):
    opened = TileStore(store)
    opened.read_tiles([1], [0])
    monkeypatch.setattr(os, "pread", _bad_sector)
    with pytest.raises(IntegrityError, match=r"\d+ bytes at 0 cannot be read: Input/output error"):
        opened.read_tiles([1], [0])


def test_a_table_in_a_bad_sector_is_refused(store, monkeypatch):
    class BadFile:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        read = staticmethod(_bad_sector)

    opened = TileStore(store)
    really_open = open
    handles = []

    def bad_open(handle, mode):
        handles.append(really_open(handle, mode))
        return BadFile()

    monkeypatch.setattr(safe_open, "open", bad_open, raising=False)
    with pytest.raises(IntegrityError, match="label/c/0' is damaged: Input/output error"):
        opened.slide_table(1, "label")
    handles[0].close()


def test_no_handle_is_left_open(store, tmp_path):
    _pipe(store / "b/label/c/0")
    (store / "a/link").symlink_to(tmp_path)
    n_handles = len(list(Path("/dev/fd").iterdir()))
    for key in ("a/label/c/0", "b/label/c/0", "a/link/x", "a/none/x", "a/label"):
        for read in (sha256_below, lambda store, key: read_below(store, key, most_bytes=3)):
            with contextlib.suppress(OSError, ValueError):
                read(store, key)
    assert len(list(Path("/dev/fd").iterdir())) == n_handles


@pytest.mark.parametrize("key", ["", "..", "a/../b", "/etc/passwd", "a//b", "."])
def test_a_key_that_leads_elsewhere_is_a_mistake_of_ours(tmp_path, key):
    with pytest.raises(AssertionError):
        open_below(tmp_path, key)
