import math

import pytest
import shapely

from medsimclr.errors import LabelError
from medsimclr.slides.annotations.reading import read_annotation
from tests.slides.annotations.shapes import imagescope_file, imagescope_region

SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]
INNER = [(2, 2), (4, 2), (4, 4), (2, 4)]
OVER_THE_EDGE = [(8, 0), (12, 0), (12, 10), (8, 10)]


def _read(tmp_path, *layers):
    path = tmp_path / "a.xml"
    path.write_text(imagescope_file(*layers))
    return read_annotation(path)


def test_imagescope_negative_regions_are_cut_out_of_their_layer_only(tmp_path):
    areas = _read(
        tmp_path,
        ("tumor", "", [imagescope_region(SQUARE), imagescope_region(OVER_THE_EDGE)]),
        ("normal", "", [imagescope_region(INNER, negative=True), imagescope_region(SQUARE)]),
        ("nothing", "", [imagescope_region(SQUARE, negative=True), imagescope_region(SQUARE)]),
    )
    assert list(areas) == ["normal", "tumor"]
    assert areas["tumor"].equals(shapely.box(0, 0, 12, 10))
    assert areas["normal"].equals(shapely.box(0, 0, 10, 10).difference(shapely.box(2, 2, 4, 4)))


def test_imagescope_layers_of_one_name_are_one_class(tmp_path):
    areas = _read(
        tmp_path,
        ("tumor", "", [imagescope_region(SQUARE), imagescope_region(INNER, negative=True)]),
        ("tumor", "", [imagescope_region(INNER), imagescope_region(OVER_THE_EDGE)]),
    )
    assert areas["tumor"].equals(shapely.box(0, 0, 12, 10))


def test_imagescope_classes_are_layers_then_descriptions_then_texts(tmp_path):
    areas = _read(
        tmp_path,
        ("layer", "description", [imagescope_region(SQUARE, text="text")]),
        (" ", "description", [imagescope_region(SQUARE, text="text")]),
        ("", "", [imagescope_region(SQUARE, text="one"), imagescope_region(INNER, text="two")]),
        ("", "", [imagescope_region(SQUARE)]),
    )
    assert {name: area.area for name, area in areas.items()} == {
        "description": 100, "layer": 100, "one": 100, "two": 4,
    }  # fmt: skip


def test_imagescope_description_of_a_region_names_no_class(tmp_path):
    region = imagescope_region(SQUARE).replace(
        "<Attributes/>", '<Attributes><Attribute Name="Description" Value="pale"/></Attributes>'
    )
    assert _read(tmp_path, ("", "", [region])) == {}


def test_imagescope_ellipses_fill_the_bounds_of_their_corners(tmp_path):
    corners = [(100, 50), (20, 10)]
    extremes = [(20, 30), (60, 10), (100, 30), (60, 50)]
    outline = [(0, 0), (10, 0), (10, 10), (5, 5), (0, 10)]
    for points in (corners, extremes):
        area = _read(tmp_path, ("x", "", [imagescope_region(points, kind="2")]))["x"]
        assert area.area == pytest.approx(math.pi * 40 * 20)
        assert area.bounds == pytest.approx((20, 10, 100, 50), abs=1e-3)
        assert area.contains(shapely.Point(60 + 39 * math.cos(1), 30 + 19 * math.sin(1)))
        assert not area.contains(shapely.Point(95, 45))
    assert _read(tmp_path, ("x", "", [imagescope_region(outline, kind="2")]))["x"].area == 75


def test_imagescope_rectangles_have_two_or_four_corners(tmp_path):
    for points in ([(10, 10), (0, 0)], SQUARE):
        area = _read(tmp_path, ("x", "", [imagescope_region(points, kind="1")]))["x"]
        assert area.equals(shapely.box(0, 0, 10, 10))


@pytest.mark.parametrize("kind", ["0", "", "Polygon"])
def test_imagescope_outlines_are_areas(tmp_path, kind):
    assert _read(tmp_path, ("x", "", [imagescope_region(SQUARE, kind=kind)]))["x"].area == 100


def test_imagescope_passes_over_what_has_no_area(tmp_path):
    regions = [imagescope_region(SQUARE, kind=kind) for kind in ("3", "4", "5", "6")]
    regions += [imagescope_region(SQUARE[:count]) for count in range(3)]
    regions += [imagescope_region([(5, 5), (5, 5)], kind=kind) for kind in ("1", "2")]
    assert _read(tmp_path, ("x", "", regions)) == {}
    assert _read(tmp_path) == {}


@pytest.mark.parametrize(
    ("vertex", "reason"),
    [
        ('X="1"', r"a point must have numbers X and Y, got \{'X': '1'\}"),
        ('X="1" Y="two"', "a point must have numbers X and Y"),
        ('X="inf" Y="2"', r"a number of pixels .* got \(inf, 2\) in point 4"),
    ],
)
def test_imagescope_faults_name_the_file_the_layer_and_the_region(tmp_path, vertex, reason):
    broken = imagescope_region(SQUARE, number=7).replace(
        "</Vertices>", f"<Vertex {vertex}/></Vertices>"
    )
    with pytest.raises(
        LabelError, match=rf"^a\.xml, layer 1 \('tumor'\), region '7': .*{reason}.*Mend or remove"
    ):
        _read(tmp_path, ("", "", []), ("tumor", "", [imagescope_region(SQUARE), broken]))


def test_imagescope_refuses_stray_vertices(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text('<Annotations><Annotation><Vertex X="1" Y="2"/></Annotation></Annotations>')
    with pytest.raises(LabelError, match=r"a\.xml, a Vertex: it must stand in a Region"):
        read_annotation(path)


def test_imagescope_refuses_asap_annotations_under_its_root(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text('<Annotations><Annotation><Coordinate X="1" Y="2"/></Annotation></Annotations>')
    with pytest.raises(LabelError, match=r"a\.xml .* ASAP_Annotations"):
        read_annotation(path)
