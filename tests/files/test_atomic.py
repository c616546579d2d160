import errno
import json
import os
from pathlib import Path

import pytest

from medsimclr.errors import OutputError
from medsimclr.files.atomic import (
    PARTIAL_SUFFIX,
    output_errors,
    remove_folder,
    remove_partials,
    sync_tree,
    write_bytes,
    write_json,
    write_text,
)


def _refuse(code):
    def refuse(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    return refuse


def test_a_write_replaces_the_content_and_leaves_no_partial(tmp_path):
    path = tmp_path / "result.bin"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("owner", "name"), [(os, "fsync"), (Path, "replace")], ids=["fsync", "replace"]
)
def test_a_full_disk_leaves_the_old_content_and_is_an_output_error(
    tmp_path, monkeypatch, owner, name
):
    path = tmp_path / "result.json"
    write_text(path, "old")
    monkeypatch.setattr(owner, name, _refuse(errno.ENOSPC))
    with pytest.raises(OutputError, match=r"result\.json' must be writable .*No space left"):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    remove_partials(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_crash_in_the_middle_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "result.txt"
    write_text(path, "old")
    monkeypatch.setattr(os, "fsync", _refuse(errno.EIO))
    with pytest.raises(OutputError, match="Input/output error"):
        write_text(path, "new and longer")
    assert path.read_text() == "old"


def test_the_file_is_flushed_before_it_is_renamed_and_its_folder_after(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(handle):
        steps.append(("fsync", Path(f"/proc/self/fd/{handle}").readlink().name))
        fsync(handle)

    def note_replace(self, target):
        steps.append(("replace", Path(target).name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    write_bytes(tmp_path / "a", b"x")
    assert steps == [("fsync", "a" + PARTIAL_SUFFIX), ("replace", "a"), ("fsync", tmp_path.name)]


def test_sync_tree_flushes_every_file_and_folder(tmp_path, monkeypatch):
    (tmp_path / "c" / "0").mkdir(parents=True)
    (tmp_path / "c" / "0" / "shard").write_bytes(b"x")
    flushed = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: flushed.append(Path(f"/proc/self/fd/{handle}").readlink())
    )
    sync_tree(tmp_path)
    assert set(flushed) == {tmp_path, *tmp_path.rglob("*")}


def test_json_is_readable_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, 2.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, 2.5, None]}


def test_partial_files_and_folders_are_swept_and_nothing_else(tmp_path):
    (tmp_path / "slide" / "deep.partial").mkdir(parents=True)
    (tmp_path / "slide" / "deep.partial" / "file.partial").write_text("x")
    (tmp_path / "half.partial").write_text("x")
    (tmp_path / "slide" / "kept").write_text("x")
    remove_partials(tmp_path)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == [
        "slide",
        "slide/kept",
    ]


def test_a_swept_link_leaves_its_target(tmp_path):
    target = tmp_path / "elsewhere"
    target.mkdir()
    (target / "kept").write_text("x")
    swept = tmp_path / "out"
    swept.mkdir()
    (swept / "link.partial").symlink_to(target)
    remove_partials(swept)
    assert (target / "kept").is_file()
    assert not list(swept.iterdir())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOENT])
def test_an_output_that_refuses_is_an_output_error(tmp_path, code):
    with (
        pytest.raises(OutputError, match=r"must be writable and have room, got .*; make room"),
        output_errors(tmp_path),
    ):
        raise OSError(code, os.strerror(code))


def test_an_error_that_libraries_raise_without_a_number_keeps_its_words(tmp_path):
    with pytest.raises(OutputError, match="got 'encoder error'"), output_errors(tmp_path):
        raise OSError("encoder error")


def test_what_is_no_error_of_the_file_system_passes_through_unchanged(tmp_path):
    with pytest.raises(ZeroDivisionError, match="a bug"), output_errors(tmp_path):
        raise ZeroDivisionError("a bug")


def test_a_folder_loses_its_name_before_its_files(tmp_path, monkeypatch):
    folder = tmp_path / "slide"
    (folder / "c").mkdir(parents=True)
    (folder / "zarr.json").write_text("committed")
    remove_folder(folder)
    assert list(tmp_path.iterdir()) == []
    folder.mkdir()
    (folder / "zarr.json").write_text("committed")
    # What an earlier deletion that was killed has left is no hindrance.
    (tmp_path / "slide.partial").mkdir()
    (tmp_path / "slide.partial" / "old").write_text("x")
    monkeypatch.setattr(os, "fsync", _refuse(errno.EIO))
    with pytest.raises(OutputError, match="slide' must be writable"):
        remove_folder(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["slide.partial", "zarr.json"]
