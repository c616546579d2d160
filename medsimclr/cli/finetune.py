"""`medsimclr finetune`."""

from medsimclr.cli.console import show_progress
from medsimclr.cli.options import build_command
from medsimclr.cli.training_result import print_training_result
from medsimclr.config.finetune import FinetuneConfig
from medsimclr.training.stop import remember_signals

__all__ = ["command"]


def _run(config: FinetuneConfig, as_json: bool) -> None:
    remember_signals()
    from medsimclr.training.finetune import finetune

    with show_progress("finetune") as progress:
        steps_before = finetune(config, progress=progress)
    print_training_result(config, steps_before=steps_before, as_json=as_json)


command = build_command(FinetuneConfig, _run)
