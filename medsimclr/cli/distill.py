"""`medsimclr distill`."""

from medsimclr.cli.console import show_progress
from medsimclr.cli.options import build_command
from medsimclr.cli.training_result import print_training_result
from medsimclr.config.distill import DistillConfig
from medsimclr.training.stop import remember_signals

__all__ = ["command"]


def _run(config: DistillConfig, as_json: bool) -> None:
    remember_signals()
    from medsimclr.training.distill import distill

    with show_progress("distill") as progress:
        steps_before = distill(config, progress=progress)
    print_training_result(config, steps_before=steps_before, as_json=as_json)


command = build_command(DistillConfig, _run)
