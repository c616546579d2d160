"""`medsimclr pretrain`."""

from medsimclr.cli.console import (
    is_speaker,
    print_json,
    print_lines,
    print_table,
    show_progress,
)
from medsimclr.cli.options import build_command
from medsimclr.cli.training_result import print_training_result
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.training.stop import remember_signals

__all__ = ["command"]


def _run(config: PretrainConfig, as_json: bool) -> None:
    if config.dry_run:
        _dry_run(config, as_json)
        return
    remember_signals()
    if config.find_temperature:
        _find_temperature(config, as_json)
        return
    from medsimclr.training.pretrain import pretrain

    with show_progress("pretrain") as progress:
        steps_before = pretrain(config, progress=progress)
    print_training_result(config, steps_before=steps_before, as_json=as_json)


def _dry_run(config: PretrainConfig, as_json: bool) -> None:
    from medsimclr.training.dry_run import dry_run

    def print_line(done: int, total: int, line: str) -> None:
        if is_speaker():
            print_lines([line])

    if not as_json:
        # The lines are the result, each of them at once: it may be the last before the memory ends.
        dry_run(config, progress=print_line)
        return
    with show_progress("pretrain") as progress:
        planned = dry_run(config, progress=progress)
    if is_speaker():
        print_json(planned.record())


def _find_temperature(config: PretrainConfig, as_json: bool) -> None:
    from medsimclr.training import find_temperature as comparison

    with show_progress("pretrain") as progress:
        trials = comparison.find_temperature(config, progress=progress)
    if not is_speaker():
        return
    if as_json:
        print_json({"out": str(config.out), "trials": [trial.record() for trial in trials]})
        return
    print_table(comparison.temperature_table(trials))
    print_lines([f"note: {note}" for note in comparison.temperature_notes(trials)])
    print_lines([f"written: {config.out / comparison.TABLE}"])


command = build_command(PretrainConfig, _run)
