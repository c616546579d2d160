"""`medsimclr pretrain`."""

from medsimclr.cli.console import is_speaker, print_json, print_lines, show_progress
from medsimclr.cli.options import build_command
from medsimclr.cli.training_result import print_training_result
from medsimclr.config.pretrain import PretrainConfig

__all__ = ["command"]


def _run(config: PretrainConfig, as_json: bool) -> None:
    if config.dry_run:
        from medsimclr.training.dry_run import dry_run

        plan = dry_run(config)
        if not is_speaker():
            return
        if as_json:
            print_json(plan.record())
        else:
            print_lines(plan.lines())
        return
    from medsimclr.training.pretrain import pretrain

    with show_progress("pretrain") as progress:
        pretrain(config, progress=progress)
    print_training_result(config.out, as_json=as_json)


command = build_command(PretrainConfig, _run)
