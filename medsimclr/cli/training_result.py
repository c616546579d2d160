"""What pretrain, finetune and distill print at their end."""

from pathlib import Path

from medsimclr.cli.console import is_speaker, print_json, print_lines

__all__ = ["print_training_result"]


def print_training_result(run: Path, *, as_json: bool) -> None:
    """Print the last logged figures of a run and where it lies."""
    if not is_speaker():
        return
    from medsimclr.training.run_log import read_metrics

    last = (read_metrics(run) or [{"step": 0}])[-1]
    if as_json:
        print_json({"run": str(run), **last})
        return
    shown = {name: value for name, value in last.items() if isinstance(value, float)}
    figures = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
    print_lines([f"{run}: {last['step']} steps done; last step: {figures}"])
