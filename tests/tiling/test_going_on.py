"""Going on with a store loses nothing that is there, and takes nothing that does not fit."""

import pytest

from medsimclr.config.tile import TileConfig
from medsimclr.errors import ConfigError, IntegrityError, NoInputError
from medsimclr.store.reader import TileStore

_SIZE_XY = (704, 512)


@pytest.fixture
def slides(tmp_path, write_slide):
    """Return a folder with the slides a and b."""
    folder = tmp_path / "slides"
    folder.mkdir()
    for seed, name in enumerate("ab"):
        write_slide(folder / f"{name}.tiff", seed=seed, size_xy=_SIZE_XY)
    return folder


def test_a_batch_of_refused_slides_leaves_the_slides_of_the_batch_before(
    slides, run_tile, tmp_path, bytes_of, write_slide
):
    run_tile(slides)
    before = bytes_of(tmp_path / "s.zarr")
    write_slide(tmp_path / "c.tiff", mpp=None, size_xy=_SIZE_XY)
    with pytest.raises(NoInputError, match=r"none of 1 slides could be tiled:\n  c: .*no mpp"):
        run_tile(tmp_path / "c.tiff")
    assert bytes_of(tmp_path / "s.zarr") == before


def test_slides_that_became_unreadable_keep_their_tiles(slides, run_tile, tmp_path, bytes_of):
    run_tile(slides)
    before = bytes_of(tmp_path / "s.zarr")
    for name in "ab":
        (slides / f"{name}.tiff").unlink()
        (slides / f"{name}.tiff").symlink_to(f"nowhere-{name}")
    with pytest.raises(NoInputError, match="none of 2 slides could be tiled"):
        run_tile(slides)
    assert bytes_of(tmp_path / "s.zarr") == before


def test_a_first_run_that_tiles_nothing_leaves_no_store(run_tile, tmp_path, write_slide):
    write_slide(tmp_path / "c.tiff", mpp=None, size_xy=_SIZE_XY)
    with pytest.raises(NoInputError, match="none of 1 slides"):
        run_tile(tmp_path / "c.tiff")
    assert list((tmp_path / "s.zarr").iterdir()) == []


def test_folders_of_others_in_a_store_are_not_swept(slides, run_tile, tmp_path):
    run_tile(slides / "a.tiff")
    notes = tmp_path / "s.zarr" / "notes"
    notes.mkdir()
    (notes / "thesis.tex").write_text("years of work")
    (tmp_path / "s.zarr" / "half" / "images").mkdir(parents=True)
    run_tile(slides)
    assert (notes / "thesis.tex").is_file()
    assert not (tmp_path / "s.zarr" / "half").exists()


def test_pictures_do_not_go_into_the_store(tmp_path):
    for preview in (tmp_path / "s.zarr", tmp_path / "s.zarr" / "pictures"):
        with pytest.raises(ValueError, match="--preview must lie outside of the store"):
            TileConfig(inputs=["x.svs"], out=tmp_path / "s.zarr", preview=preview)
    with pytest.raises(ValueError, match="--preview must lie outside of the inputs"):
        TileConfig(inputs=[tmp_path], out="s.zarr", preview=tmp_path / "pictures")


@pytest.mark.parametrize("first_has_alias", [False, True])
def test_a_slide_is_not_stored_a_second_time_under_another_name(
    slides, run_tile, tmp_path, bytes_of, first_has_alias
):
    plain, aliased = tmp_path / "plain.csv", tmp_path / "aliased.csv"
    plain.write_text("slide,patient\na,p1\nb,p2\n")
    aliased.write_text("slide,patient,alias\na,p1,case-1\nb,p2,\n")
    first, second = (aliased, plain) if first_has_alias else (plain, aliased)
    run_tile(slides, slides_csv=first)
    before = bytes_of(tmp_path / "s.zarr")
    old, new = ("case-1", "a") if first_has_alias else ("a", "case-1")
    with pytest.raises(ConfigError, match=f"slide '{new}' is in .* already, as '{old}'"):
        run_tile(slides, slides_csv=second)
    assert bytes_of(tmp_path / "s.zarr") == before


@pytest.mark.parametrize("alias", ["zarr.json", "..", "a/b", "x" * 65, "Ä"])
def test_an_alias_that_cannot_be_a_folder_is_refused(slides, run_tile, tmp_path, alias):
    table = tmp_path / "slides.csv"
    table.write_text(f"slide,patient,alias\na,p1,{alias}\nb,p2,\n")
    with pytest.raises(ConfigError, match="alias must be 1 to 64 of"):
        run_tile(slides, slides_csv=table)
    assert not (tmp_path / "s.zarr").exists()


def test_what_changed_of_a_slide_is_named(slides, run_tile, tmp_path, write_slide):
    table = tmp_path / "slides.csv"
    table.write_text("slide,patient\na,p1\nb,p2\n")
    run_tile(slides, slides_csv=table)
    table.write_text("slide,patient\na,p3\nb,p2\n")
    with pytest.raises(ConfigError, match=r"'a' .* tiled from another patient or centre than the"):
        run_tile(slides, slides_csv=table)
    write_slide(slides / "a.tiff", seed=9, size_xy=_SIZE_XY)
    with pytest.raises(ConfigError, match="tiled from another patient or centre and file than"):
        run_tile(slides, slides_csv=table)


def test_a_dry_run_knows_what_is_there_and_what_does_not_fit(slides, run_tile, tmp_path, bytes_of):
    run_tile(slides / "a.tiff")
    before = bytes_of(tmp_path)
    report = run_tile(slides, dry_run=True)
    assert (report.planned, list(report.kept)) == (["b"], ["a"])
    with pytest.raises(ConfigError, match="belongs to another tiling configuration"):
        run_tile(slides, tile_px=128, dry_run=True)
    assert bytes_of(tmp_path) == before
    assert TileStore(tmp_path / "s.zarr").slides[0].slide_id == "a"


def test_an_annotation_beside_its_slide_and_files_of_no_slide_are_noted(
    slides, run_tile, tmp_path, write_geojson
):
    folder = tmp_path / "annotations"
    folder.mkdir()
    write_geojson(folder / "a.geojson", [("tumor", [(9000, 0), (9400, 0), (9400, 90)])])
    write_geojson(folder / "z.geojson", [("tumor", [(320, 0), (704, 0), (704, 90)])])
    report = run_tile(slides, annotations=folder)
    assert report.notes[1:] == [
        "1 of 2 slides have no annotation (first: 'b').",
        "1 annotations name no given slide (first: 'z.geojson').",
        "the annotation of a covers none of its tiles; its coordinates must be level-0 pixels of "
        "this very slide.",
    ]


@pytest.mark.parametrize("damage", ["lost", "changed"])
def test_a_store_whose_own_metadata_is_gone_can_be_made_anew(slides, run_tile, tmp_path, damage):
    run_tile(slides)
    root = tmp_path / "s.zarr" / "zarr.json"
    if damage == "lost":
        root.unlink()
        with pytest.raises(ConfigError, match="add --overwrite if it is a store that lost"):
            run_tile(slides)
    else:
        root.write_text(root.read_text().replace('"tile_px": 64', '"tile_px": 65'))
        with pytest.raises(IntegrityError, match=r"If this is it, .* again with --overwrite"):
            run_tile(slides)
    assert len(run_tile(slides, overwrite=True).written) == 2
