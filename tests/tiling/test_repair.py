import json
import subprocess
import sys

import pytest

from medsimclr.config.verify import VerifyConfig
from medsimclr.errors import ConfigError
from medsimclr.files.lock import exclusive_lock
from medsimclr.store.verify import verify_store
from medsimclr.tiling.repair import repair


@pytest.fixture
def tiled(tmp_path, write_slide, write_geojson, run_tile, bytes_of):
    """A store of two annotated slides, its slides, and its bytes."""
    slides, annotations = tmp_path / "slides", tmp_path / "annotations"
    slides.mkdir()
    annotations.mkdir()
    for seed, name in enumerate("ab"):
        write_slide(slides / f"{name}.tiff", seed=seed, size_xy=(704, 512))
        write_geojson(
            annotations / f"{name}.geojson", [("tumor", [(320, 0), (704, 0), (704, 256)])]
        )
    run_tile(slides, annotations=annotations, shard_tiles=16)
    return tmp_path / "s.zarr", slides, annotations


def _repair(store, *inputs, **options):
    config = VerifyConfig(store=store, inputs=list(inputs), repair=True, **options)
    return repair(config, verify_store(store))


def _flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_only_damaged_files_are_made_anew_and_the_store_is_what_it_was(tiled, bytes_of):
    store, slides, annotations = tiled
    whole = bytes_of(store)
    (store / "a" / "images/c/1/0/0/0").unlink()
    _flip(store / "a" / "images/c/2/0/0/0")
    _flip(store / "b" / "label/c/0")
    (store / "b" / "mask" / "stranger").write_text("?")
    untouched = {
        path: path.stat().st_ino
        for path in store.rglob("*")
        if path.is_file() and path.name != "stranger"
    }
    done = _repair(store, slides, annotations=annotations)
    assert done.mended == {
        "a": ["images/c/1/0/0/0", "images/c/2/0/0/0"],
        "b": ["mask/stranger", "label/c/0"],
    }
    assert bytes_of(store) == whole
    anew = {
        path.relative_to(store).as_posix()
        for path, inode in untouched.items()
        if path.stat().st_ino != inode
    }
    assert anew == {"a/images/c/2/0/0/0", "b/label/c/0"}
    assert verify_store(store).damages == []
    assert sorted(entry.name for entry in store.parent.iterdir()) == [
        ".s.zarr.lock",
        "annotations",
        "s.zarr",
        "slides",
    ]


def test_a_slide_with_damaged_metadata_gets_it_anew_and_loses_what_does_not_belong(
    tiled, bytes_of, tmp_path
):
    store, slides, annotations = tiled
    whole = bytes_of(store)
    (store / "a" / "zarr.json").write_bytes(b"{")
    (store / "a" / "images" / "stranger").write_text("?")
    (store / "a" / "elsewhere").symlink_to(tmp_path)
    inode = (store / "a" / "images/c/0/0/0/0").stat().st_ino
    done = _repair(store, slides, annotations=annotations)
    assert done.mended == {"a": ["elsewhere", "images/stranger", "zarr.json"]}
    assert bytes_of(store) == whole
    assert (store / "a" / "images/c/0/0/0/0").stat().st_ino == inode
    assert verify_store(store).damages == []
    assert tmp_path.is_dir()


def test_a_link_in_the_place_of_a_folder_is_taken_away_and_not_written_through(
    tiled, bytes_of, tmp_path
):
    store, slides, annotations = tiled
    whole = bytes_of(store)
    (store / "a" / "label").rename(tmp_path / "elsewhere")
    (store / "a" / "label").symlink_to(tmp_path / "elsewhere")
    kept = bytes_of(tmp_path / "elsewhere")
    done = _repair(store, slides, annotations=annotations)
    assert done.mended["a"][0] == "label"
    assert bytes_of(store) == whole
    assert not (store / "a" / "label").is_symlink()
    assert bytes_of(tmp_path / "elsewhere") == kept


def test_where_metadata_and_tiles_are_damaged_nothing_is_guessed(tiled, bytes_of):
    store, slides, annotations = tiled
    (store / "a" / "zarr.json").write_bytes(b"{")
    _flip(store / "a" / "images/c/0/0/0/0")
    damaged = bytes_of(store)
    done = _repair(store, slides, annotations=annotations)
    assert "nothing says which is right; delete its folder and run" in done.failed["a"]
    assert bytes_of(store) == damaged


def test_damaged_metadata_does_not_take_another_patient(tiled, bytes_of, tmp_path):
    store, slides, annotations = tiled
    text = (store / "a" / "zarr.json").read_text()
    (store / "a" / "zarr.json").write_text(text.replace('"level": 0', '"level": 1'))
    (tmp_path / "slides.csv").write_text("slide,patient\na,other\nb,other\n")
    damaged = bytes_of(store)
    done = _repair(store, slides, annotations=annotations, slides_csv=tmp_path / "slides.csv")
    assert "speaks of another file, annotation or row of slides.csv" in done.failed["a"]
    assert bytes_of(store) == damaged


def test_a_slide_that_is_not_given_stays_as_it_is(tiled, bytes_of):
    store, slides, annotations = tiled
    _flip(store / "a" / "images/c/0/0/0/0")
    _flip(store / "b" / "images/c/0/0/0/0")
    damaged = bytes_of(store / "a")
    (annotations / "a.geojson").rename(annotations / "c.geojson")
    done = _repair(store, slides / "b.tiff", annotations=annotations)
    assert list(done.mended) == ["b"]
    assert done.failed == {"a": "none of the given slides has this name"}
    assert bytes_of(store / "a") == damaged


def test_another_slide_of_the_name_mends_nothing(tiled, bytes_of, write_slide):
    store, slides, annotations = tiled
    _flip(store / "a" / "images/c/0/0/0/0")
    damaged = bytes_of(store)
    write_slide(slides / "a.tiff", seed=7, size_xy=(704, 512))
    done = _repair(store, slides, annotations=annotations)
    assert done.mended == {}
    assert "tiling it anew gives other bytes than the store had" in done.failed["a"]
    assert bytes_of(store) == damaged


def test_a_slide_that_cannot_be_read_any_more_mends_nothing(tiled, bytes_of):
    store, slides, annotations = tiled
    _flip(store / "a" / "images/c/0/0/0/0")
    damaged = bytes_of(store)
    (slides / "a.tiff").write_bytes(b"gone")
    done = _repair(store, slides, annotations=annotations)
    assert "no slide that OpenSlide or Pillow can read" in done.failed["a"]
    assert bytes_of(store) == damaged


def test_slides_are_needed_and_settings_must_fit(tiled):
    store, slides, _ = tiled
    _flip(store / "a" / "images/c/0/0/0/0")
    with pytest.raises(ConfigError, match=r"--repair must have the slides .* `medsimclr tile`: a"):
        _repair(store)
    with pytest.raises(ConfigError, match=r"\(classes: \['tumor'\] -> \[\]\); give --annotations"):
        _repair(store, slides)


def test_a_store_without_damage_needs_no_slides(tiled):
    store, _, _ = tiled
    assert _repair(store).mended == {}


def _verify(*arguments):
    command = [sys.executable, "-c", "from medsimclr.cli.main import main; main()", "verify"]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_command_names_slide_and_tiles_exits_7_and_mends(tiled):
    store, slides, annotations = tiled
    assert _verify(store).returncode == 0
    (store / "a" / "images/c/1/0/0/0").unlink()
    found = _verify(store)
    assert found.returncode == 7
    assert "slide a: images/c/1/0/0/0 is missing (tiles 16 to 31)" in found.stdout
    assert "1 of 2 slides" in found.stderr
    assert "Traceback" not in found.stderr
    record = json.loads(_verify(store, "--json").stdout)
    assert record["damages"][0]["tiles"] == list(range(16, 32))
    with exclusive_lock(store):
        assert _verify(store, slides, "--annotations", annotations, "--repair").returncode == 6
    mended = _verify(store, slides, "--annotations", annotations, "--repair")
    assert mended.returncode == 0, mended.stderr
    assert "mended a: 1 file" in mended.stdout
    assert _verify(store).returncode == 0
    assert _verify(store / "absent").returncode == 4
