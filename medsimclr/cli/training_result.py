"""What pretrain, finetune and distill print at their end."""

from collections.abc import Mapping
from typing import Any

from medsimclr.cli.console import is_speaker, print_json, print_lines
from medsimclr.config.training import TrainingConfig

__all__ = ["print_training_result"]


def print_training_result(config: TrainingConfig, *, steps_before: int, as_json: bool) -> None:
    """Print where a run lies, its last logged figures, and the warnings that are in force.

    What was measured before the first step too, is shown beside what became of it.

    Args:
        config: of the run, which is finished.
        steps_before: what earlier starts of it had done; 0 for a new run.
        as_json: whether to print one JSON object.
    """
    if not is_speaker():
        return
    from medsimclr.training.run_log import read_metrics

    rows = read_metrics(config.out) or [{"step": 0}]
    last = rows[-1]
    warnings = last.get("warnings", [])
    before = _measured(rows[0]) if rows[0]["step"] == 0 else {}
    if as_json:
        # The last step is logged, and a run that was not to its end has not come here.
        course = {
            "total_steps": last["step"],
            "resumed_after_step": steps_before or None,
            "epochs": config.epochs,
        }
        told = {"before_training": before, "warnings": warnings}
        print_json({"run": str(config.out), **course, **last, **told})
        return
    figures = ", ".join(
        f"{name} {value:.4g}" + (f" (before training {before[name]:.4g})" if name in before else "")
        for name, value in _measured(last).items()
    )
    went_on = f", {steps_before} of them by an earlier start" if steps_before else ""
    print_lines([f"{config.out}: {last['step']} steps done{went_on}; last step: {figures}"])
    print_lines([f"warning: {warning}" for warning in warnings])


def _measured(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if isinstance(value, float)}
