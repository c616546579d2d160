"""What commands show: progress on stderr, results on stdout."""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

__all__ = ["is_speaker", "print_json", "print_lines", "print_table", "show_progress"]

# Below what training logs anyway (log_seconds), so that no line of it is lost.
_LINE_SECONDS = 2.0
Report = Callable[[int, int, str], None]


def is_speaker() -> bool:
    """Tell whether this process prints: of those that torchrun started, the first."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def show_progress(what: str) -> Iterator[Report]:
    """Give a function (done, total, line) that draws a bar on a terminal and prints lines else.

    In a process that is not the speaker it does nothing.
    """
    if not is_speaker():
        yield lambda done, total, line: None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _LineReport(what)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TextColumn("{task.fields[line]}"), console=console) as bars:
        bar = bars.add_task(what, total=None, line="")

        def report(done: int, total: int, line: str) -> None:
            if total:
                bars.update(bar, completed=done, total=total, line=line)
            else:
                bars.console.print(line, markup=False, highlight=False)

        yield report


def print_lines(lines: Sequence[str]) -> None:
    """Write lines of a result to stdout, at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Write a result to stdout as JSON, which knows no NaN and no infinity: they become null."""
    sys.stdout.write(json.dumps(_finite(value), indent=2, allow_nan=False) + "\n")


def print_table(cells: Sequence[Sequence[str]]) -> None:
    """Write a table to stdout, the first row being its header; never cut at a narrow width."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(cells[0]):
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    for row in cells[1:]:
        table.add_row(*row)
    is_terminal = sys.stdout.isatty()
    Console(file=sys.stdout, width=None if is_terminal else 160).print(table)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value


class _LineReport:
    """A line every few seconds; always the last one, and what has no count."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._said = 0.0

    def __call__(self, done: int, total: int, line: str) -> None:
        now = time.monotonic()
        if total and done < total and now - self._said < _LINE_SECONDS:
            return
        self._said = now
        place = f"{self._what} {done}/{total} · " if total else ""
        sys.stderr.write(f"{place}{line}\n")
        sys.stderr.flush()
