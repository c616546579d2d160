import os
from unittest.mock import patch

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medsimclr.errors import LabelError
from medsimclr.slides.annotations import reading
from medsimclr.slides.annotations.reading import ANNOTATION_SUFFIXES, read_annotation
from tests.slides.annotations.shapes import WRITERS

SHAPES = [
    ("tumor", [[(0, 0), (30, 0), (30, 30), (0, 30)], [(5, 5), (9, 5), (9, 9), (5, 9)]]),
    ("tumor", [[(25, 0), (40, 0), (40, 20), (25, 20)]]),
    ("normal", [[(10, 10), (60, 10), (10, 60)]]),
]


@pytest.mark.parametrize("suffix", [*ANNOTATION_SUFFIXES, ".XML"])
@pytest.mark.parametrize("format_name", WRITERS)
def test_the_content_says_which_format_a_file_has(tmp_path, format_name, suffix):
    path = WRITERS[format_name](tmp_path / f"slide{suffix}", SHAPES)
    areas = read_annotation(path)
    assert {name: area.area for name, area in areas.items()} == {"normal": 1250, "tumor": 1084}
    assert all(area.is_valid for area in areas.values())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
def test_xml_is_read_in_the_encoding_that_it_states(tmp_path, encoding):
    path = WRITERS["asap.xml"](tmp_path / "a.xml", [("Drüse", SHAPES[0][1])])
    stated = encoding.removesuffix("-sig")
    text = path.read_text().replace('version="1.0"', f'version="1.0" encoding="{stated}"')
    path.write_bytes(text.encode(encoding))
    assert list(read_annotation(path)) == ["Drüse"]


@pytest.mark.parametrize(
    ("file_name", "content", "reason"),
    [
        ("a.xml", b"", "is no whole XML file: no element found"),
        ("a.xml", b"GIF89a", "is no whole XML file: "),
        ("a.json", b"", "is no JSON file"),
        ("a.geojson", b"PK\x03\x04", "is no JSON file"),
        ("a.xml", b"<Annotations><Annotation>", "is no whole XML file: no element found"),
        ("a.xml", b"<Annotations></Annotation>", "is no whole XML file: mismatched tag"),
        ("a.xml", b"<ASAP_Annotations/><ASAP_Annotations/>", "is no whole XML file: junk after"),
        (
            "a.xml",
            b'<?xml version="1.0" encoding="klingon"?><Annotations/>',
            "is no whole XML file",
        ),
        ("a.xml", b'<?xml version="1.0" encoding="gb2312"?><Annotations/>', "is no whole XML file"),
        ("a.xml", b"<Annotations>\xff</Annotations>", "is no whole XML file: not well-formed"),
        ("a.xml", b"<Annotations>&hidden;</Annotations>", "is no whole XML file: undefined entity"),
        ("a.xml", b"<gpx/>", "outermost element ASAP_Annotations or Annotations, got 'gpx'"),
        ("a.xml", b"<Annotations>" + b"<a>" * 100_000, "must nest elements at most 64 deep"),
        (
            "a.json",
            b'{"type": "FeatureCollection", "features": [' + b"9" * 9999 + b"]}",
            "is no JSON",
        ),
    ],
)
def test_a_file_that_is_no_annotation_is_refused_by_its_name(tmp_path, file_name, content, reason):
    (tmp_path / file_name).write_bytes(content)
    with pytest.raises(LabelError, match=rf"^{file_name} .*{reason}") as caught:
        read_annotation(tmp_path / file_name)
    assert len(str(caught.value).splitlines()) == 1


BILLION_LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(9))
    + ']><Annotations><Annotation Name="&a9;"/></Annotations>'
)
SECRET = '<!DOCTYPE x [<!ENTITY file SYSTEM "{uri}">]><Annotations>&file;</Annotations>'
REMOTE = '<!DOCTYPE x SYSTEM "http://198.51.100.1/x.dtd"><ASAP_Annotations/>'


@pytest.mark.parametrize("text", [BILLION_LAUGHS, SECRET, REMOTE, "<!DOCTYPE x><Annotations/>"])
def test_a_doctype_is_refused_before_anything_is_expanded_or_fetched(tmp_path, text):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path = tmp_path / "a.xml"
    path.write_text(text.replace("{uri}", secret.as_uri()))
    with (
        patch("socket.socket", side_effect=AssertionError("no network")),
        pytest.raises(LabelError, match=r"^a\.xml must have no DOCTYPE, .* line 1; remove it\.$"),
    ):
        read_annotation(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.touch()
    os.truncate(path, 600 << 20)
    monkeypatch.setattr(type(path), "read_bytes", lambda self: pytest.fail("was read"))
    with pytest.raises(LabelError, match=r"^a\.json must be at most 512 MB, got 600 MB; export"):
        read_annotation(path)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.xml")
    (tmp_path / "folder.json").mkdir()
    for name, reason in [
        ("pipe.xml", "is no regular file"),
        ("folder.json", "is no regular file"),
        ("missing.geojson", "No such file"),
    ]:
        with pytest.raises(LabelError, match=rf"{name} cannot be read: .*{reason}"):
            read_annotation(tmp_path / name)


@st.composite
def _mutations(draw):
    """Return (at, n_removed, put) triples in parts of 65,536 of the file."""
    at = st.integers(0, 65_535)
    pieces = st.binary(max_size=6) | st.sampled_from(
        [
            b"nan",
            b"1e999",
            b"-",
            b'"',
            b"<",
            b"/>",
            b"[",
            b"]",
            b"null",
            b"&#0;",
            b"\x00",
            b"9" * 400,
        ]
    )
    return draw(st.lists(st.tuples(at, st.integers(0, 40), pieces), min_size=1, max_size=4))


def _mutated(content, mutations):
    for at, n_removed, put in mutations:
        start = at * len(content) >> 16
        content = content[:start] + put + content[start + n_removed :]
    return content


@pytest.mark.parametrize("format_name", WRITERS)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutations=_mutations(), cut_at=st.integers(0, 65_536) | st.just(65_536))
def test_a_mutated_file_gives_areas_or_one_sentence(
    tmp_path_factory, format_name, mutations, cut_at
):
    path = tmp_path_factory.mktemp("mutated") / format_name
    content = _mutated(WRITERS[format_name](path, SHAPES).read_bytes(), mutations)
    path.write_bytes(content[: cut_at * len(content) >> 16])
    try:
        areas, message = read_annotation(path), format_name
    except LabelError as error:
        areas, message = {}, str(error)
    assert message.startswith(format_name)
    assert len(message) < 600
    assert len(message.splitlines()) == 1
    assert all(area.is_valid and area.area > 0 for area in areas.values())
    assert all(isinstance(area, shapely.Polygon | shapely.MultiPolygon) for area in areas.values())


def test_a_name_with_a_line_break_stays_in_one_line(tmp_path):
    path = tmp_path / os.fsdecode(b"a\n\xff.xml")
    path.write_text("<Annotations>")
    with pytest.raises(LabelError, match=r"^'a\\n\\udcff\.xml' is no whole XML file"):
        read_annotation(path)


def test_geos_failures_are_told_as_label_errors(tmp_path, monkeypatch):
    for format_name, write in WRITERS.items():
        module = {
            "qupath.geojson": "geojson",
            "asap.xml": "asap_xml",
            "imagescope.xml": "imagescope_xml",
        }
        target = f"medsimclr.slides.annotations.{module[format_name]}.union"
        path = write(tmp_path / format_name, SHAPES)
        with (
            patch(target, side_effect=shapely.GEOSException("TopologyException: side location")),
            pytest.raises(LabelError, match=rf"^{format_name}, .*TopologyException"),
        ):
            reading.read_annotation(path)
