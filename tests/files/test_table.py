import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medsimclr.errors import LabelError
from medsimclr.files.table import read_table


def _table(tmp_path, content):
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_rows_have_their_line_numbers_and_stripped_cells(tmp_path):
    path = _table(tmp_path, 'slide , label\na, tumor\n\n"b\nb",""\n')
    rows = read_table(path, required=["slide"])
    assert [row.line for row in rows] == [2, 5]
    assert rows[0].values == {"slide": "a", "label": "tumor"}
    assert rows[0].get("label") == "tumor"
    assert rows[1].get("label") is None
    assert rows[1].get("patient") is None


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_byte_order_mark_and_windows_lines_are_accepted(tmp_path, newline):
    content = newline.join(["slide,label", "Ä,x", ""]).encode("utf-8-sig")
    (row,) = read_table(_table(tmp_path, content), required=["slide", "label"])
    assert row.values == {"slide": "Ä", "label": "x"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("slide,tag\na,b\n", r"must have the column 'label', got the columns 'slide', 'tag'"),
        ("", r"must have the column 'slide', got the columns none"),
        ("slide,label\n", "must have at least one row below its header"),
        ("slide,label\na,b\nc\n", r"line 3: expected 2 cells as in the header, got 1"),
        ("slide,label\na,b,c\n", r"line 2: expected 2 cells as in the header, got 3"),
        ("slide,label\na,b\n , c\n", r"line 3: 'slide' is empty; fill it in"),
        ("slide,label,label\na,b,c\n", r"has the column 'label' twice"),
        ('slide,label\n"a,b\n', r"must be a readable UTF-8 CSV file: unexpected end of data"),
        ("slide,label\na,b\n".encode("utf-16"), r"must be a readable UTF-8 CSV file: .*decode"),
        (b"slide,label\na,\xe4\n", r"must be a readable UTF-8 CSV file: .*decode"),
    ],
)
def test_a_wrong_table_is_named_with_line_and_reason(tmp_path, content, message):
    path = _table(tmp_path, content)
    with pytest.raises(LabelError, match=rf"labels\.csv'.*{message}"):
        read_table(path, required=["slide", "label"])


def test_a_missing_table_or_a_folder_is_a_label_error(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(LabelError, match="must be a readable UTF-8 CSV file"):
            read_table(path, required=["slide"])


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.binary(max_size=200) | st.text('slide,"\n\r x\0', max_size=60).map(str.encode))
def test_no_bytes_raise_anything_but_a_label_error(tmp_path, content):
    path = _table(tmp_path, content)
    try:
        rows = read_table(path, required=["slide"])
    except LabelError:
        return
    assert all(row.values["slide"] for row in rows)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cells=st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
            lambda text: text == text.strip() and "\ufeff" not in text
        ),
        min_size=1,
        max_size=6,
    )
)
def test_what_python_writes_is_read_back(tmp_path, cells):
    text = io.StringIO()
    csv.writer(text).writerows([["slide"], *[[cell] for cell in cells]])
    rows = read_table(_table(tmp_path, text.getvalue()), required=["slide"])
    assert [row.values["slide"] for row in rows] == cells
