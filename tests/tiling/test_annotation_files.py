import json

import pytest

from medsimclr.config.tile import TileConfig
from medsimclr.errors import LabelError
from medsimclr.tiling.inputs import find_inputs
from tests.slides.annotations.shapes import WRITERS

SQUARE = [(320, 0), (900, 0), (900, 900), (320, 900)]


@pytest.fixture
def find(tmp_path, write_slide):
    """Return the function that looks for the inputs of two slides with a folder of annotations."""
    for name in ("a", "_b c"):
        write_slide(tmp_path / f"{name}.tiff", size_xy=(400, 200))
    (tmp_path / "annotations").mkdir()

    def find():
        slides = [tmp_path / "a.tiff", tmp_path / "_b c.tiff"]
        config = TileConfig(
            inputs=slides, out=tmp_path / "s.zarr", mpp=0.5, annotations=tmp_path / "annotations"
        )
        return find_inputs(config)

    return find


def test_each_slide_takes_the_annotation_of_its_name_in_any_format(find, tmp_path):
    folder = tmp_path / "annotations"
    WRITERS["asap.xml"](folder / "a.xml", [("tumor", [SQUARE])])
    WRITERS["qupath.geojson"](folder / "_b c.JSON", [("normal", [SQUARE])])
    # By its name alone this would be the slide "_b c", whose id is "_b_c".
    (folder / ".b c.xml").write_text("left by an editor")
    (folder / "a.txt").write_text("a note")
    inputs = find()
    assert inputs.classes == ["normal", "tumor"]
    names = {source.slide_id: source.annotation.name for source in inputs.sources}
    assert names == {"_b_c": "_b c.JSON", "a": "a.xml"}
    assert not [note for note in inputs.notes if "annotation" in note]


def test_two_annotations_of_one_slide_are_refused_by_name(find, tmp_path):
    folder = tmp_path / "annotations"
    WRITERS["imagescope.xml"](folder / "a.xml", [("tumor", [SQUARE])])
    WRITERS["qupath.geojson"](folder / "a.geojson", [("tumor", [SQUARE])])
    with pytest.raises(
        LabelError,
        match=r"one file for each slide, of <slide>\.geojson, <slide>\.json, <slide>\.xml, got "
        r"'a\.geojson' and 'a\.xml' for 'a'; remove one of them\.$",
    ):
        find()


def test_two_annotations_of_a_slide_that_is_not_given_do_no_harm(find, tmp_path):
    folder = tmp_path / "annotations"
    for name in ("a.xml", "other.xml"):
        WRITERS["asap.xml"](folder / name, [("tumor", [SQUARE])])
    (folder / "other.json").write_text("no annotation")
    assert find().classes == ["tumor"]


def test_a_folder_without_annotations_is_refused_with_the_accepted_names(find, tmp_path):
    (tmp_path / "annotations" / "a.csv").write_text("")
    accepted = r"<slide>\.geojson, <slide>\.json, <slide>\.xml files .* got 0 such files"
    with pytest.raises(LabelError, match=accepted):
        find()
    (tmp_path / "annotations" / "a.csv").unlink()
    (tmp_path / "annotations").rmdir()
    with pytest.raises(LabelError, match=accepted):
        find()


def test_annotations_without_a_class_are_noted(find, tmp_path):
    WRITERS["asap.xml"](tmp_path / "annotations" / "a.xml", [("tumor", [SQUARE])])
    (tmp_path / "annotations" / "_b c.json").write_text(json.dumps([]))
    inputs = find()
    assert inputs.notes[-1] == (
        "1 of 2 annotations hold no area that has a class (first: '_b c.json')."
    )
    assert [source.classes for source in inputs.sources] == [("tumor",), ("tumor",)]
