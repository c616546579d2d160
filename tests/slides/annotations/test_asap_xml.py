import pytest
import shapely

from medsimclr.errors import LabelError
from medsimclr.slides.annotations.reading import read_annotation
from tests.slides.annotations.shapes import asap_annotation, asap_file

SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]
INNER = [(2, 2), (4, 2), (4, 4), (2, 4)]
OVER_THE_EDGE = [(8, 0), (12, 0), (12, 10), (8, 10)]


def _read(tmp_path, annotations, *, groups=()):
    path = tmp_path / "a.xml"
    path.write_text(asap_file(annotations, groups=groups))
    return read_annotation(path)


def test_asap_groups_are_classes_and_areas_of_one_group_unite(tmp_path):
    annotations = [
        asap_annotation(SQUARE, group="Tumor"),
        asap_annotation(OVER_THE_EDGE, group="Tumor", kind="Rectangle"),
        asap_annotation(SQUARE, group="stroma", kind="Spline"),
        asap_annotation(SQUARE),
    ]
    areas = _read(tmp_path, annotations, groups=["stroma", "Tumor"])
    assert list(areas) == ["Tumor", "stroma"]
    assert areas["Tumor"].equals(shapely.box(0, 0, 12, 10))
    assert areas["stroma"].equals(shapely.box(0, 0, 10, 10))


@pytest.mark.parametrize("exclusion", ["Exclusion", "exclude", "EXCLUDED"])
def test_asap_exclusion_is_cut_out_of_every_class_and_is_none(tmp_path, exclusion):
    annotations = [
        asap_annotation(INNER, group=exclusion),
        asap_annotation(SQUARE, group="Tumor"),
        asap_annotation(OVER_THE_EDGE, group=exclusion),
        asap_annotation(SQUARE, group="stroma"),
        asap_annotation(INNER, group="all of it"),
    ]
    areas = _read(tmp_path, annotations)
    left = shapely.box(0, 0, 8, 10).difference(shapely.box(2, 2, 4, 4))
    assert list(areas) == ["Tumor", "stroma"]
    assert areas["Tumor"].equals(left)
    assert areas["stroma"].equals(left)


def test_asap_groups_of_camelyon_are_cut_out_as_their_readmes_say(tmp_path):
    annotations = [
        asap_annotation(SQUARE, group=group) for group in ("_0", "_1", "Tumor", "metastases", "x")
    ]
    annotations += [
        asap_annotation(INNER, group="_2"),
        asap_annotation(OVER_THE_EDGE, group="normal"),
    ]
    areas = _read(tmp_path, annotations)
    assert {name: area.area for name, area in areas.items()} == {
        "_0": 96, "_1": 96, "Tumor": 96, "metastases": 80, "x": 100, "_2": 4, "normal": 40,
    }  # fmt: skip


def test_asap_without_groups_takes_names_but_not_those_that_asap_gave(tmp_path):
    annotations = [asap_annotation(SQUARE, name="gland"), asap_annotation(SQUARE)]
    assert list(_read(tmp_path, annotations)) == ["gland"]
    # One group anywhere, and names are only names: so does ASAP's conversion to masks.
    assert list(_read(tmp_path, annotations, groups=["unused"])) == []


def test_asap_points_are_taken_by_their_order(tmp_path):
    path = tmp_path / "a.xml"
    ordered = [
        f'<Coordinate Order="{order}" X="{x}" Y="{y}"/>' for order, (x, y) in enumerate(SQUARE)
    ]
    shuffled = "".join(ordered[index] for index in (2, 0, 3, 1))
    head, rest = asap_file([asap_annotation([], group="Tumor")]).split("<Coordinates>")
    path.write_text(f"{head}<Coordinates>{shuffled}{rest}")
    assert read_annotation(path)["Tumor"].area == 100


def test_asap_points_without_order_stand_as_in_the_file(tmp_path):
    annotations = [asap_annotation(SQUARE, group="Tumor", order=False)]
    assert _read(tmp_path, annotations)["Tumor"].area == 100


def test_asap_passes_over_what_has_no_area(tmp_path):
    annotations = [
        asap_annotation(SQUARE, group="Tumor", kind=kind)
        for kind in ("Dot", "PointSet", "Measurement", "None")
    ]
    annotations += [asap_annotation(SQUARE[:count], group="Tumor") for count in range(3)]
    annotations += [asap_annotation([(0, 0), (5, 5), (9, 9)], group="Tumor")]
    assert _read(tmp_path, annotations) == {}


@pytest.mark.parametrize(
    ("coordinate", "reason"),
    [
        ('X="1" Order="3"', r"a point must have numbers X and Y, got \{'X': '1', 'Order': '3'\}"),
        ('X="1,5" Y="2" Order="3"', "a point must have numbers X and Y, got .*'1,5'"),
        ('X="nan" Y="2" Order="3"', r"a number of pixels .* got \(nan, 2\)"),
        ('X="1" Y="-1e12" Order="3"', r"a number of pixels .* got \(1, -1e\+12\)"),
        ('X="1" Y="2" Order="last"', "Order must be a whole number, got 'last'"),
        (f'X="1" Y="2" Order="{"9" * 5000}"', "Order must be a whole number, got '999"),
        ('X="1" Y="2"', "Order must be a whole number, got None"),
    ],
)
def test_asap_faults_name_the_file_and_the_annotation(tmp_path, coordinate, reason):
    broken = asap_annotation(SQUARE, group="Tumor", name="lower left").replace(
        "</Coordinates>", f"<Coordinate {coordinate}/></Coordinates>"
    )
    good = asap_annotation(SQUARE, group="Tumor")
    with pytest.raises(
        LabelError, match=rf"^a\.xml, annotation 1 \('lower left'\): .*{reason}.*Mend or remove"
    ):
        _read(tmp_path, [good, broken])


def test_asap_refuses_a_bad_group_name_and_a_stray_coordinate(tmp_path):
    with pytest.raises(LabelError, match=r"annotation 0 .* at most 200 printable characters"):
        _read(tmp_path, [asap_annotation(SQUARE, group="x" * 300)])
    path = tmp_path / "a.xml"
    path.write_text('<ASAP_Annotations><Coordinate X="1" Y="2"/></ASAP_Annotations>')
    with pytest.raises(LabelError, match=r"a\.xml, a Coordinate: it must stand in an Annotation"):
        read_annotation(path)
