"""`medsimclr evaluate`."""

from medsimclr.cli.console import print_lines, print_table, show_progress
from medsimclr.cli.options import build_command
from medsimclr.config.evaluate import EvaluateConfig

__all__ = ["command"]


def _run(config: EvaluateConfig, as_json: bool) -> None:
    from medsimclr.evaluation.result import result_table
    from medsimclr.report.evaluate import evaluate

    with show_progress("evaluate") as progress:
        evaluation = evaluate(config, progress=progress)
    if as_json:
        print_lines([(config.out / "result.json").read_text(encoding="utf-8").rstrip()])
        return
    unit = evaluation.unit
    print_lines(
        [
            f"{evaluation.n_tiles} test tiles of {evaluation.n_patients} "
            f"{'patients' if unit == 'tile' else unit + 's'} never trained on with labels; "
            f"95 % intervals by resampling {unit}s"
        ]
    )
    print_table(result_table(evaluation.rows))
    warnings = evaluation.rows[0].intervals.warnings
    print_lines([f"note: {note}" for note in (*evaluation.notes, *warnings)])
    print_lines([f"written: {config.out}/result.json, evaluation.png, predictions.csv"])


command = build_command(EvaluateConfig, _run)
