"""Read a CSV table that a person made."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medsimclr.errors import LabelError

__all__ = ["Row", "read_table"]


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    line: int
    """Line number in the file, from 1."""
    values: dict[str, str]

    def get(self, column: str) -> str | None:
        """Return the cell, or None where the column or its content is missing."""
        return self.values.get(column) or None


def read_table(path: Path, *, required: Sequence[str]) -> list[Row]:
    """Read a comma-separated UTF-8 table with a header line; a byte-order mark is accepted.

    Raises:
        LabelError: the file cannot be read, lacks a required column, has one twice, has a cell
            missing in one, or has a line of another length than its header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        fact = error.strerror if isinstance(error, OSError) else error
        raise LabelError(
            f"table {str(path)!r} must be a readable UTF-8 CSV file: {fact}; check its path, and "
            f"save it with the columns {', '.join(required)}."
        ) from error
    missing = [name for name in required if name not in header]
    if missing:
        raise LabelError(
            f"table {str(path)!r} must have the column {missing[0]!r}, got the columns "
            f"{', '.join(map(repr, header)) or 'none'}; rename or add it."
        )
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise LabelError(f"table {str(path)!r} has the column {twice[0]!r} twice; keep one.")
    if not lines:
        raise LabelError(f"table {str(path)!r} must have at least one row below its header.")
    return [_row(path, header, line, cells, required) for line, cells in lines]


def _row(
    path: Path, header: Sequence[str], line: int, cells: Sequence[str], required: Sequence[str]
) -> Row:
    if len(cells) != len(header):
        raise LabelError(
            f"table {str(path)!r}, line {line}: expected {len(header)} cells as in the header, "
            f"got {len(cells)}."
        )
    values = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    for name in required:
        if not values[name]:
            raise LabelError(f"table {str(path)!r}, line {line}: {name!r} is empty; fill it in.")
    return Row(line=line, values=values)
