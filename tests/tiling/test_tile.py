"""The run of `medsimclr tile` over synthetic slides, through its own processes."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from medsimclr.errors import ConfigError, LabelError, LockedError, NoInputError
from medsimclr.files.lock import exclusive_lock
from medsimclr.store.reader import TileStore

# 11 x 8 tiles of 64 px, of which 6 x 8 are tissue.
_SIZE_XY = (704, 512)
_N_TILES, _N_TISSUE = 88, 48
_TUMOR = [("tumor", [(320, 0), (704, 0), (704, 256), (320, 256)])]


@pytest.fixture
def slides(tmp_path, write_slide):
    """Return a folder with the slides a and b."""
    folder = tmp_path / "slides"
    folder.mkdir()
    for seed, name in enumerate("ab"):
        write_slide(folder / f"{name}.tiff", seed=seed, size_xy=_SIZE_XY)
    return folder


def test_a_store_holds_the_pixels_of_its_slides(slides, run_tile, tmp_path, write_slide):
    report = run_tile(slides, min_tissue=0.0, workers=2)
    assert report.written == {"a": _N_TILES, "b": _N_TILES}
    store = TileStore(tmp_path / "s.zarr")
    for slide, seed in ((0, 0), (1, 1)):
        (source,) = write_slide(tmp_path / "again.tiff", seed=seed, size_xy=_SIZE_XY).levels[:1]
        tiles = store.read_tiles([slide] * _N_TILES, range(_N_TILES))
        for tile, (x, y) in zip(tiles, store.slide_table(slide, "level0_xy").tolist(), strict=True):
            np.testing.assert_array_equal(tile, source[y : y + 64, x : x + 64])
    assert store.meta.mpp == 0.5
    assert np.isfinite(store.table("quality")).all()
    assert store.picture(0, "mask").shape == store.picture(0, "thumbnail").shape[:2]


def test_slides_csv_gives_patient_and_centre_by_file_name_stem_or_id(
    tmp_path, write_slide, run_tile
):
    for name in ("a.tiff", "case.1.tiff", "case.2.tiff", "c d.tiff", "e.tiff"):
        write_slide(tmp_path / name, size_xy=(640, 320))
    table = tmp_path / "slides.csv"
    table.write_text(
        "slide,patient,centre\na.tiff,p1,c1\ncase.1,p2,\ncase.2,p3,c2\nc d,p4,c1\nelsewhere,p9,\n"
    )
    report = run_tile(*tmp_path.glob("*.tiff"), slides_csv=table)
    found = {s.slide_id: (s.patient, s.centre) for s in TileStore(tmp_path / "s.zarr").slides}
    assert found == {
        "a": ("p1", "c1"),
        "case.1": ("p2", None),
        "case.2": ("p3", "c2"),
        "c_d": ("p4", "c1"),
        "e": (None, None),
    }
    assert report.notes == [
        "1 of 5 slides have no patient in slides.csv (first: 'e'); each counts as a patient of its "
        "own.",
        "1 rows of slides.csv name no given slide (first: 'elsewhere').",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slide,patient\na,p1\na.tiff,p2\n", r"line 3: slide 'a\.tiff' is already in line 2"),
        (
            "slide,patient,mpp\na,p,fine\n",
            r"line 2: mpp must be a number from 0\.01 to 100 .*got 'fine'",
        ),
        ("slide,patient,mpp\na,p,nan\n", r"line 2: mpp must be .*got 'nan'"),
        ("name\na\n", r"must have the column 'slide'"),
        ("slide,who\na,b\n", r"must have the column 'patient', got the columns 'slide', 'who'"),
    ],
)
def test_a_wrong_slides_csv_is_refused_before_anything_is_written(
    slides, run_tile, tmp_path, text, message
):
    (tmp_path / "slides.csv").write_text(text)
    with pytest.raises(LabelError, match=message):
        run_tile(slides, slides_csv=tmp_path / "slides.csv")
    assert not (tmp_path / "s.zarr").exists()


def test_the_mpp_column_serves_slides_that_state_none(tmp_path, write_slide, run_tile):
    slide = write_slide(tmp_path / "a.tiff", mpp=None, size_xy=(640, 320)).path
    (tmp_path / "slides.csv").write_text("slide,patient,mpp\na,p,0.5\n")
    run_tile(slide, slides_csv=tmp_path / "slides.csv")
    (meta,) = TileStore(tmp_path / "s.zarr").slides
    assert (meta.mpp, meta.mpp_source) == (0.5, "slides.csv")


def test_annotated_slides_have_labels_and_the_others_are_noted(
    slides, run_tile, tmp_path, write_geojson
):
    (tmp_path / "annotations").mkdir()
    write_geojson(tmp_path / "annotations" / "b.geojson", _TUMOR)
    report = run_tile(slides, annotations=tmp_path / "annotations")
    store = TileStore(tmp_path / "s.zarr")
    assert store.meta.classes == ["tumor"]
    assert set(store.slide_table(0, "label").tolist()) == {-1}
    is_inside = store.slide_table(1, "level0_xy")[:, 1] < 256
    np.testing.assert_array_equal(store.slide_table(1, "label"), np.where(is_inside, 0, -1))
    assert report.notes == [
        "no slides.csv: each slide counts as a patient of its own.",
        "1 of 2 slides have no annotation (first: 'a').",
    ]


def test_annotations_named_like_no_slide_are_refused(slides, run_tile, tmp_path, write_geojson):
    (tmp_path / "annotations").mkdir()
    write_geojson(tmp_path / "annotations" / "z.geojson", _TUMOR)
    with pytest.raises(LabelError, match=r"got 1 such files and none that is named .*: a, b\."):
        run_tile(slides, annotations=tmp_path / "annotations")


def test_refused_slides_are_reported_and_the_rest_is_tiled(slides, run_tile, tmp_path, write_slide):
    write_slide(slides / "blank.tiff", blank=True, size_xy=_SIZE_XY)
    write_slide(slides / "coarse.tiff", mpp=1.0, size_xy=_SIZE_XY)
    write_slide(slides / "no_mpp.tiff", mpp=None, size_xy=_SIZE_XY)
    (slides / "text.svs").write_text("this is no slide")
    damaged = (slides / "a.tiff").read_bytes()[:200_000]
    (slides / "truncated.tiff").write_bytes(damaged)
    report = run_tile(slides)
    assert report.written == {"a": _N_TISSUE, "b": _N_TISSUE}
    reasons = {
        "blank": "none of 88 tiles is tissue",
        "coarse": "1 um/px, but 0.5 um/px were asked",
        "no_mpp": "states no mpp, and none is guessed. Give --source-mpp",
        "text": "'text.svs' is no slide that OpenSlide or Pillow can read",
        "truncated": "truncated.tiff' is no slide that OpenSlide or Pillow can read",
    }
    assert sorted(report.failed) == sorted(reasons)
    for name, reason in reasons.items():
        assert reason in report.failed[name], name
    assert sorted(entry.name for entry in (tmp_path / "s.zarr").iterdir()) == [
        "a",
        "b",
        "zarr.json",
    ]


def test_a_slide_that_fails_in_the_middle_leaves_nothing(slides, run_tile, tmp_path):
    content = bytearray((slides / "b.tiff").read_bytes())
    with tifffile.TiffFile(slides / "b.tiff") as tiff:
        offsets = tiff.pages[0].tags["TileOffsets"].valueoffset
    # The 40th tile of level 0 now lies past the end of the file.
    content[offsets + 160 : offsets + 164] = b"\xf0\xff\xff\x7f"
    (slides / "b.tiff").write_bytes(content)
    report = run_tile(slides, min_tissue=0.0)
    assert report.written == {"a": _N_TILES}
    assert "cannot be decoded" in report.failed["b"]
    assert sorted(entry.name for entry in (tmp_path / "s.zarr").iterdir()) == ["a", "zarr.json"]


def test_nothing_readable_is_no_input_with_every_reason(tmp_path, run_tile, write_slide):
    write_slide(tmp_path / "no_mpp.tiff", mpp=None, size_xy=(640, 320))
    (tmp_path / "text.svs").write_text("this is no slide")
    with pytest.raises(NoInputError, match=r"(?s)none of 2 slides .*no_mpp: .*text: "):
        run_tile(tmp_path / "no_mpp.tiff", tmp_path / "text.svs")
    with pytest.raises(NoInputError, match="must be a file or folder, got nothing there"):
        run_tile(tmp_path / "absent.svs")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoInputError, match="no slide found"):
        run_tile(tmp_path / "empty")


def test_slides_need_a_scale_to_be_cut_at(slides, run_tile):
    with pytest.raises(ConfigError, match="--mpp must say at which scale slides are cut"):
        run_tile(slides, mpp=None)


def test_two_slides_of_one_name_are_refused(slides, run_tile, write_slide, tmp_path):
    write_slide(tmp_path / "a.tiff", size_xy=(640, 320))
    with pytest.raises(ConfigError, match="would both be slide 'a'"):
        run_tile(slides, tmp_path / "a.tiff")


def test_kinds_of_input_are_not_mixed(slides, run_tile, tmp_path):
    (tmp_path / "test_batch.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match="inputs must be of one kind"):
        run_tile(slides, tmp_path / "test_batch.bin")


def test_a_dry_run_names_the_slides_and_writes_nothing(slides, run_tile, tmp_path):
    report = run_tile(slides, dry_run=True)
    assert report.planned == ["a", "b"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["slides"]


def test_the_same_run_again_keeps_everything_and_adds_new_slides(
    slides, run_tile, tmp_path, bytes_of, write_slide
):
    run_tile(slides)
    first = bytes_of(tmp_path / "s.zarr")
    report = run_tile(slides)
    assert (report.written, report.kept) == ({}, {"a": _N_TISSUE, "b": _N_TISSUE})
    assert bytes_of(tmp_path / "s.zarr") == first
    write_slide(slides / "c.tiff", seed=2, size_xy=_SIZE_XY)
    report = run_tile(slides)
    assert (report.written, report.kept) == ({"c": _N_TISSUE}, {"a": _N_TISSUE, "b": _N_TISSUE})
    grown = bytes_of(tmp_path / "s.zarr")
    assert {name: content for name, content in grown.items() if name in first} == first


def test_another_configuration_is_refused_and_overwrite_starts_anew(slides, run_tile, tmp_path):
    run_tile(slides)
    with pytest.raises(ConfigError, match=r"tile_px: 64 -> 128.*choose another --out"):
        run_tile(slides, tile_px=128)
    report = run_tile(slides / "a.tiff", tile_px=128, overwrite=True)
    assert list(report.written) == ["a"]
    store = TileStore(tmp_path / "s.zarr")
    assert store.meta.tile_px == 128
    assert [slide.slide_id for slide in store.slides] == ["a"]


def test_overwrite_deletes_only_a_store(slides, run_tile, tmp_path):
    (tmp_path / "s.zarr").mkdir()
    (tmp_path / "s.zarr" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"--overwrite deletes only a tile store"):
        run_tile(slides, overwrite=True)
    assert (tmp_path / "s.zarr" / "thesis.tex").is_file()


_CHANGED = r"slide 'a' .*was tiled from another (file|annotation|patient or centre) .*--overwrite"


def test_a_changed_annotation_is_refused(slides, run_tile, tmp_path, write_geojson):
    folder = tmp_path / "annotations"
    folder.mkdir()
    write_geojson(folder / "a.geojson", _TUMOR)
    run_tile(slides, annotations=folder)
    write_geojson(folder / "a.geojson", [("tumor", [(320, 0), (400, 0), (400, 90)])])
    with pytest.raises(ConfigError, match=_CHANGED):
        run_tile(slides, annotations=folder)
    write_geojson(folder / "a.geojson", [*_TUMOR, ("necrosis", [(320, 0), (400, 0), (400, 90)])])
    with pytest.raises(ConfigError, match=r"classes: \['tumor'\] -> \['necrosis', 'tumor'\]"):
        run_tile(slides, annotations=folder)


def test_another_patient_or_another_slide_of_the_name_is_refused(
    slides, run_tile, tmp_path, write_slide
):
    table = tmp_path / "slides.csv"
    table.write_text("slide,patient\na,p1\nb,p2\n")
    run_tile(slides, slides_csv=table)
    table.write_text("slide,patient\na,p2\nb,p2\n")
    with pytest.raises(ConfigError, match=_CHANGED):
        run_tile(slides, slides_csv=table)
    table.write_text("slide,patient\na,p1\nb,p2\n")
    write_slide(slides / "a.tiff", seed=9, size_xy=_SIZE_XY)
    with pytest.raises(ConfigError, match=_CHANGED):
        run_tile(slides, slides_csv=table)


def test_a_second_run_on_one_store_is_refused(slides, run_tile, tmp_path):
    with (
        exclusive_lock(tmp_path / "s.zarr"),
        pytest.raises(LockedError, match="being written by another process"),
    ):
        run_tile(slides)


def _command(slides, out):
    return [
        *[sys.executable, "-c", "from medsimclr.cli.main import main; main()", "tile"],
        *[str(slides), "--out", str(out), "--mpp", "0.5", "--tile-px", "64", "--codec", "zstd"],
        *["--min-tissue", "0"],
    ]


def test_a_killed_run_goes_on_to_the_bytes_of_an_uninterrupted_one(
    slides, run_tile, tmp_path, bytes_of, write_slide
):
    for seed, name in enumerate("cd", start=2):
        write_slide(slides / f"{name}.tiff", seed=seed)
    killed = tmp_path / "killed.zarr"
    process = subprocess.Popen(
        _command(slides, killed), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    while not (killed / "a" / "zarr.json").exists():
        assert process.poll() is None, process.stdout.read()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert 1 <= len(list(killed.glob("*/zarr.json"))) < 4
    # Whatever a kill can leave beside the slide that was under way.
    (killed / "a" / "zarr.json.partial").write_text("{")
    (killed / "d").mkdir(exist_ok=True)
    (killed / "d" / "zarr.json.partial").write_text("{")
    subprocess.run(_command(slides, killed), capture_output=True, check=True)
    run_tile(slides, min_tissue=0.0, workers=2)
    assert bytes_of(killed) == bytes_of(tmp_path / "s.zarr")
    assert [slide.n_tiles for slide in TileStore(killed).slides] == [88, 88, 270, 270]
