"""What pretrain, finetune and distill print at their end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medsimclr.cli.console import is_speaker, print_json, print_lines

__all__ = ["print_training_result"]


def print_training_result(run: Path, *, as_json: bool) -> None:
    """Print where a run lies, its last logged figures, and the warnings that are in force.

    What was measured before the first step too, is shown beside what became of it.
    """
    if not is_speaker():
        return
    from medsimclr.training.run_log import read_metrics

    rows = read_metrics(run) or [{"step": 0}]
    last = rows[-1]
    warnings = last.get("warnings", [])
    before = _measured(rows[0]) if rows[0]["step"] == 0 else {}
    if as_json:
        print_json({"run": str(run), **last, "before_training": before, "warnings": warnings})
        return
    figures = ", ".join(
        f"{name} {value:.4g}" + (f" (before training {before[name]:.4g})" if name in before else "")
        for name, value in _measured(last).items()
    )
    print_lines([f"{run}: {last['step']} steps done; last step: {figures}"])
    print_lines([f"warning: {warning}" for warning in warnings])


def _measured(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if isinstance(value, float)}
