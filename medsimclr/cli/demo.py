"""`medsimclr demo`."""

from medsimclr.cli.console import print_json, print_lines, print_table, show_progress
from medsimclr.cli.options import build_command
from medsimclr.config.demo import DemoConfig

__all__ = ["command"]


def _run(config: DemoConfig, as_json: bool) -> None:
    from medsimclr.demo.run import demo
    from medsimclr.evaluation.result import result_table

    with show_progress("demo") as progress:
        result = demo(config, progress=progress)
    if as_json:
        print_json(result.record())
        return
    print_lines(["", "What was done (each line is a command that you can run again):"])
    print_lines([f"  {line}" for line in result.commands])
    evaluation = result.evaluation
    print_lines(
        [
            "",
            f"Result on {evaluation.n_tiles} tiles of {evaluation.n_patients} patients never seen "
            "(synthetic tissue; with 95 % intervals over patients):",
        ]
    )
    print_table(result_table(evaluation.rows))
    warnings = evaluation.rows[0].intervals.warnings
    print_lines([f"note: {note}" for note in (*evaluation.notes, *warnings)])
    print_lines(["", "Where everything lies:"])
    print_lines([f"  {path}  {what}" for path, what in result.places.items()])


command = build_command(DemoConfig, _run)
