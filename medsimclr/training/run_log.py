"""What a run says while it trains: metrics.jsonl, TensorBoard events, a line of progress."""

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from medsimclr.files.atomic import output_errors, write_text

__all__ = ["Progress", "RunLog", "format_seconds", "read_metrics", "silent"]

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, what to say)."""


def silent(done: int, total: int, line: str) -> None:
    """Show nothing; a `Progress`."""


# Of all that is logged, what a line has room for.
_SHOWN = ("loss", "accuracy", "agreement", "effective_rank", "knn_balanced_accuracy")


class RunLog:
    """Log of one run; on resume it forgets what lies after the checkpoint.

    Args:
        run: the run directory.
        start_step: steps done before.
        total_steps: steps in all.
        images_per_step: views that pass the network in a step, for views/s.
        log_seconds: time between two lines of progress.
        progress: shows the line.
    """

    def __init__(
        self,
        run: Path,
        *,
        start_step: int,
        total_steps: int,
        images_per_step: int,
        log_seconds: float,
        progress: Progress,
    ) -> None:
        self._path = run / "metrics.jsonl"
        # A new run begins at step 0, what is resumed with the step after the checkpoint's.
        first_step = start_step + 1 if start_step > 0 else 0
        kept = [row for row in read_metrics(run) if row["step"] < first_step]
        write_text(self._path, "".join(map(_line_of, kept)))
        self._file = self._path.open("a", encoding="utf-8")
        self._events = SummaryWriter(str(run / "tensorboard"), purge_step=first_step)
        self._total_steps = total_steps
        self._images_per_step = images_per_step
        self._log_seconds = log_seconds
        self._progress = progress
        self._shown: set[str] = set()
        self._start = self._said = time.monotonic()
        self._start_step = start_step

    def start(self, values: Mapping[str, float], warnings: Sequence[str]) -> None:
        """Log what was found before the first step, if anything, and begin to take the time."""
        if values or warnings:
            self._write(0, values, warnings)
        self._start = self._said = time.monotonic()

    def step(self, step: int, values: Mapping[str, float], warnings: Sequence[str] = ()) -> None:
        """Log the step that makes `step` steps done; warnings are shown at once.

        Those of the last step that repeat an earlier one word for word are not shown again.
        """
        self._write(step, values, warnings)
        now = time.monotonic()
        if now - self._said >= self._log_seconds or step == self._total_steps:
            self._said = now
            with output_errors(self._path):
                self._file.flush()
            self._progress(step, self._total_steps, self._line(step, values, now))

    def _write(self, step: int, values: Mapping[str, float], warnings: Sequence[str]) -> None:
        # JSON knows no NaN and no infinity.
        figures = {name: value if math.isfinite(value) else None for name, value in values.items()}
        row = {"step": step, **figures} | ({"warnings": list(warnings)} if warnings else {})
        with output_errors(self._path):
            self._file.write(_line_of(row))
        for warning in warnings:
            if step < self._total_steps or warning not in self._shown:
                self._progress(0, 0, warning)
        self._shown.update(warnings)
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def flush(self) -> None:
        """Put every line on the disk, before a checkpoint counts on them."""
        with output_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write out what is buffered."""
        with output_errors(self._path):
            self._file.close()
            self._events.close()

    def _line(self, step: int, values: Mapping[str, float], now: float) -> str:
        seconds_per_step = (now - self._start) / (step - self._start_step)
        shown = [f"{name} {values[name]:.4g}" for name in _SHOWN if name in values]
        rate = self._images_per_step / seconds_per_step
        left = format_seconds((self._total_steps - step) * seconds_per_step)
        return " · ".join([*shown, f"{rate:.0f} views/s", f"{left} left"])


def format_seconds(seconds: float) -> str:
    """Return a time as 45 s, 12 min or 3.4 h."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl; a last line that a killed process left unfinished is passed over.

    A figure that was not finite is None: null in the file, NaN or Infinity in earlier versions'.
    """
    path = run / "metrics.jsonl"
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line, parse_constant=lambda _: None))
        except json.JSONDecodeError:
            break
    return rows


def _line_of(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"
