"""`medsimclr`: the commands in the order in which they are used."""

import os

import typer

from medsimclr.cli import (
    datasets,
    demo,
    distill,
    evaluate,
    finetune,
    heatmap,
    inspect,
    policies,
    pretrain,
    tile,
    verify,
)
from medsimclr.cli.options import OneValueCommand

__all__ = ["app", "main", "version_option"]

app = typer.Typer(
    help="From a folder of whole-slide images to a validated tile classifier.",
    epilog="Research use only: not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    tile,
    inspect,
    verify,
    pretrain,
    finetune,
    distill,
    evaluate,
    heatmap,
    datasets,
    demo,
):
    name = module.__name__.rpartition(".")[2]
    app.command(name, cls=OneValueCommand)(module.command)
app.add_typer(policies.app, name="policies")


@app.callback(invoke_without_command=True)
def version_option(
    version: bool = typer.Option(False, "--version", help="Print the version and end."),
) -> None:
    """From a folder of whole-slide images to a validated tile classifier."""
    if version:
        from medsimclr import __version__

        typer.echo(f"medsimclr {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    # TensorFlow, if tensorboard finds one, would write pages of warnings.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app()
