"""One bad slide never stops the others: each gets one line that says why, the rest is written."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from medsimclr.errors import NoInputError
from medsimclr.slides.opening import find_slides
from medsimclr.store.reader import TileStore
from tests.references.hand_made_tiff import claiming_tags, write_tiff

_SIZE_XY = (704, 512)
_N_TILES = 88
_APERIO = b"Aperio Image Library v11\r\n2x2 [0,0 2x2] (256x256) JPEG/RGB Q=70|AppMag = 20|MPP = 0.5"
_NOT_REGULAR = "it is no regular file"
_ABSENT = "it does not exist"
_NO_SLIDE = "is no slide that OpenSlide or Pillow can read"


def _damage(folder, content):
    """Write damaged copies of a TIFF; return the ids, all of which must be refused."""
    n_bytes = len(content)
    for share in (0.01, 0.3, 0.9, 0.999):
        (folder / f"cut_{share}.tiff").write_bytes(content[: int(n_bytes * share)])
    (folder / "cut_7_bytes.tiff").write_bytes(content[:7])
    (folder / "zero.svs").write_bytes(b"")
    (folder / "zeros.svs").write_bytes(bytes(n_bytes))
    flipped = bytearray(content)
    flipped[4:8] = bytes(byte ^ 0xFF for byte in flipped[4:8])
    (folder / "flipped.tiff").write_bytes(flipped)
    names = [*(f"cut_{share}" for share in (0.01, 0.3, 0.9, 0.999)), "cut_7_bytes"]
    return dict.fromkeys([*names, "zero", "zeros", "flipped"], _NO_SLIDE)


def _no_files(folder):
    """Make what is named like a slide and is no file; return why each must be refused."""
    os.mkfifo(folder / "pipe.svs")
    os.mkfifo(folder / "pipe_dicom.dcm")
    (folder / "folder.svs").mkdir()
    (folder / "folder_of_text.ndpi").mkdir()
    (folder / "folder_of_text.ndpi" / "readme.txt").write_text("no slide")
    (folder / "lost.svs").symlink_to(folder / "nowhere.svs")
    (folder / "loop.tiff").symlink_to(folder / "loop.tiff")
    (folder / "device.svs").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket has at most 108 bytes
        listener.bind("socket.svs")
        os.chdir(here)
    names = ("pipe", "pipe_dicom", "folder", "folder_of_text", "device", "socket")
    return {**dict.fromkeys(names, _NOT_REGULAR), "lost": _ABSENT, "loop": _ABSENT}


def _claims(folder):
    """Write headers that claim too much or go round in circles."""
    ids = []
    for size in (2**31, 2**31 - 1, 2**20):
        for is_tiled in (False, True):
            for is_big in (False, True):
                tags = claiming_tags((size, size), is_tiled=is_tiled, description=_APERIO)
                ids.append(f"claims_{size}_{'tiled' if is_tiled else 'strip'}_{is_big}")
                write_tiff(folder / f"{ids[-1]}.svs", tags, is_big=is_big)
    for n_looping in (1, 3):
        for is_big in (False, True):
            tags = claiming_tags((1024, 1024), is_tiled=True, n_pieces=16)
            ids.append(f"loop_{n_looping}_{is_big}")
            write_tiff(folder / f"{ids[-1]}.tif", tags, is_big=is_big, n_looping=n_looping)
    tags = claiming_tags((2**31 - 1, 2**31 - 1), is_tiled=True, n_pieces=2**45)
    write_tiff(folder / "claims_pieces.tif", tags, is_big=True)
    return dict.fromkeys([*ids, "claims_pieces"], _NO_SLIDE)


def _strange_names(folder, good):
    """Give a good and a bad slide to each strange name; return the reasons and the good ids."""
    for raw in (b"a b", b"new\nline", b"no\xff\xfetext", b"esc\x1b[2J", b"\xe6\xbc\xa2"):
        name = os.fsdecode(raw)
        shutil.copy(good, folder / f"good {name}.tiff")
        (folder / f"bad {name}.svs").write_bytes(b"no slide")
        # OpenSlide quotes the path of such a file as it is.
        tags = claiming_tags((2**31, 2**31), is_tiled=True)
        write_tiff(folder / f"claims {name}.tiff", tags, is_big=False)
    ids = ["a_b", "new_line", "no__text", "esc__2J", "_"]
    refused = {f"{kind}_{name}": _NO_SLIDE for kind in ("bad", "claims") for name in ids}
    return refused, [f"good_{name}" for name in ids]


@pytest.fixture(scope="module")
def place(tmp_path_factory, write_slide):
    """Return a folder of good and bad slides, the reasons by id, and the ids of the good ones."""
    folder = tmp_path_factory.mktemp("bad") / "slides"
    folder.mkdir()
    good = write_slide(folder / "good.tiff", size_xy=_SIZE_XY).path
    reasons = {**_damage(folder, good.read_bytes()), **_no_files(folder), **_claims(folder)}
    strange, strange_good = _strange_names(folder, good)
    if os.geteuid() != 0:
        shutil.copy(good, folder / "unreadable.tiff")
        (folder / "unreadable.tiff").chmod(0)
        reasons["unreadable"] = _NO_SLIDE
    return folder, {**reasons, **strange}, ["good", *strange_good]


def _medsimclr(*words, cwd):
    command = [sys.executable, "-c", "from medsimclr.cli.main import main; main()"]
    return subprocess.run([*command, *words], cwd=cwd, capture_output=True, timeout=120)


def _tile(place, out, *words):
    return _medsimclr(
        *["tile", "slides", "--out", out, "--mpp", "0.5", "--tile-px", "64", "--min-tissue", "0"],
        *["--set", "slide_memory_mb=512", "--set", "slide_seconds=30", "--workers", "2", *words],
        cwd=place[0].parent,
    )


def test_every_bad_slide_has_its_line_and_the_good_ones_are_whole(place):
    folder, reasons, good = place
    result = _tile(place, "all.zarr")
    errors, lines = result.stderr.decode("utf-8"), result.stdout.decode("utf-8").split("\n")
    assert result.returncode == 3, errors
    assert "Traceback" not in errors
    assert errors.split("\n")[-2].startswith(f"medsimclr: {len(reasons)} slides were refused")
    assert all(line.startswith(("tiling ", "medsimclr: ")) for line in errors.split("\n")[:-1])
    refused = dict(
        line.removeprefix("refused ").split(": ", 1)
        for line in lines
        if line.startswith("refused ")
    )
    assert {name: why for name, why in refused.items() if reasons[name] not in why} == {}
    assert sorted(refused) == sorted(reasons)
    others = [line for line in lines if not line.startswith("refused ")]
    n_all = _N_TILES * len(good)
    assert others == [
        *(f"{name}: {_N_TILES} tiles" for name in sorted(good)),
        f"all.zarr: {n_all} tiles of {len(good)} slides written",
        "note: no slides.csv: each slide counts as a patient of its own.",
        "",
    ]
    assert all(line.isprintable() for line in [*lines, *errors.split("\n")])
    store = TileStore(folder.parent / "all.zarr")
    assert {slide.slide_id: slide.n_tiles for slide in store.slides} == dict.fromkeys(
        good, _N_TILES
    )
    slides, rows = zip(*[(s, r) for s in range(len(good)) for r in range(_N_TILES)], strict=True)
    tiles = store.read_tiles(slides, rows).reshape(len(good), _N_TILES, 64, 64, 3)
    assert (tiles == tiles[0]).all()
    assert sorted(p.name for p in store.path.iterdir()) == sorted([*good, "zarr.json"])


def test_the_json_report_is_valid_utf8_with_one_printable_line_each(place):
    _, reasons, good = place
    result = _tile(place, "json.zarr", "--json")
    assert result.returncode == 3
    report = json.loads(result.stdout.decode("utf-8"))
    assert sorted(report["failed"]) == sorted(reasons)
    assert sorted(report["written"]) == sorted(good)
    for slide_id, reason in report["failed"].items():
        assert reasons[slide_id] in reason, reason
        assert reason.isprintable(), reason
        reason.encode("utf-8")


def test_nothing_readable_ends_with_4_and_every_reason(place, tmp_path):
    folder = place[0]
    bad = tmp_path / "slides"
    bad.mkdir()
    _damage(bad, (folder / "good.tiff").read_bytes())
    result = _tile((bad,), "none.zarr")
    errors = result.stderr.decode("utf-8")
    assert result.returncode == 4, errors
    assert "Traceback" not in errors
    assert errors.count(_NO_SLIDE) == 8
    assert result.stdout == b""


def test_slides_named_one_by_one_are_refused_like_those_of_a_folder(
    place, run_tile, write_slide, tmp_path
):
    folder, _, _ = place
    names = ["pipe.svs", "folder.svs", "lost.svs", "loop.tiff", "device.svs", "socket.svs"]
    report = run_tile(folder / "good.tiff", *(folder / name for name in names), min_tissue=0.0)
    assert report.written == {"good": _N_TILES}
    assert sorted(report.failed) == sorted(Path(name).stem for name in names)


def _bomb(path, side):
    # PackBits: two bytes for each 128 zeros.
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            iter([b"\x81\x00" * (side * side * 3 // 128)]),
            shape=(side, side, 3),
            dtype=np.uint8,
            tile=(side, side),
            compression="packbits",
            photometric="rgb",
            resolution=(20_000, 20_000),
            resolutionunit="CENTIMETER",
            metadata=None,
        )


def test_a_decompression_bomb_is_refused_and_its_neighbours_are_written(
    tmp_path, write_slide, run_tile
):
    good = write_slide(tmp_path / "good.tiff", size_xy=_SIZE_XY).path
    _bomb(tmp_path / "bomb.tiff", side=16_384)
    report = run_tile(good, tmp_path / "bomb.tiff", min_tissue=0.0, slide_memory_mb=512)
    assert report.written == {"good": _N_TILES}
    assert "memory" in report.failed["bomb"]


def test_a_committed_slide_that_became_a_pipe_is_refused_and_not_waited_for(
    tmp_path, write_slide, run_tile
):
    slides = [write_slide(tmp_path / f"{name}.tiff", size_xy=_SIZE_XY).path for name in "abc"]
    run_tile(*slides, min_tissue=0.0)
    for path in slides[:2]:
        path.unlink()
    os.mkfifo(slides[0])
    slides[1].symlink_to(tmp_path / "nowhere")
    report = run_tile(*slides, min_tissue=0.0)
    assert report.kept == {"c": _N_TILES}
    assert {name: _NOT_REGULAR in why for name, why in report.failed.items()} == {
        "a": True,
        "b": True,
    }
    assert len(TileStore(tmp_path / "s.zarr").slides) == 3


def test_a_folder_that_cannot_be_searched_is_named(tmp_path, monkeypatch):
    def refuse(folder, **options):
        options["onerror"](PermissionError(13, "Permission denied", str(folder / "locked")))
        return iter(())

    monkeypatch.setattr(os, "walk", refuse)
    with pytest.raises(NoInputError, match=r"locked' cannot be searched \(Permission denied\)"):
        find_slides([tmp_path])


def test_a_folder_named_like_a_slide_is_searched_like_any_other(tmp_path):
    (tmp_path / "export.svs").mkdir()
    (tmp_path / "export.svs" / "a.svs").touch()
    assert find_slides([tmp_path]) == [tmp_path / "export.svs" / "a.svs"]
