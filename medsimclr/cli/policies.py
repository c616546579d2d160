"""`medsimclr policies`: list, check, fit and show augmentation policies."""

import inspect
import shlex

import typer

from medsimclr.cli.console import print_json, print_lines, print_table, show_progress
from medsimclr.cli.options import OneValueCommand, build_command, exit_on_error
from medsimclr.config.compare import PolicyCompareConfig
from medsimclr.config.policies import (
    PoliciesConfig,
    PolicyCheckConfig,
    PolicyFitConfig,
    PolicyShowConfig,
    PolicySuggestConfig,
)
from medsimclr.errors import ConfigError, PolicyError
from medsimclr.training.stop import remember_signals

__all__ = ["app", "list_without_command"]

app = typer.Typer()


def _list(config: PoliciesConfig, as_json: bool) -> None:
    from medsimclr.augment.discovery import installed_policies, load_policy

    described = {}
    for name in installed_policies():
        try:
            policy = load_policy(name, is_checked=False)
        except PolicyError as error:
            # One broken package must not hide the others.
            described[name] = f"cannot be used: {error}"
            continue
        described[name] = (inspect.getdoc(type(policy)) or "no description").splitlines()[0]
    if as_json:
        print_json(described)
    else:
        print_lines([f"{name:16} {what}" for name, what in described.items()])
        print_lines(
            ["See one with medsimclr policies show NAME --store STORE; yours is file.py:ClassName."]
        )


def _check(config: PolicyCheckConfig, as_json: bool) -> None:
    from medsimclr.augment.contract import check_policy
    from medsimclr.augment.discovery import load_policy

    policy = load_policy(config.policy, options=config.policy_options, is_checked=False)
    problems = check_policy(policy, view_px=config.view_px)
    if as_json:
        print_json({"policy": config.policy, "problems": problems})
    elif problems:
        print_lines([f"{config.policy}: {problem}" for problem in problems])
    else:
        print_lines([f"{config.policy} keeps the contract"])
    if problems:
        raise PolicyError(
            f"augmentation policy {config.policy!r} breaks the contract in {len(problems)} "
            f"{'point' if len(problems) == 1 else 'points'}; mend what is listed."
        )


def _fit(config: PolicyFitConfig, as_json: bool) -> None:
    from medsimclr.data.policy_fit import fit_policy, training_slides
    from medsimclr.files.output_folder import check_output_file
    from medsimclr.store.reader import TileStore

    check_output_file(config.out, example="stats.toml")
    store = TileStore(config.store)
    fitted = fit_policy(
        config.policy,
        store,
        slide_indices=training_slides(store, config.split),
        options=config.policy_options,
        n_tiles=config.tiles,
        seed=config.seed,
    )
    whose = f"training patients of {config.split}" if config.split else _ALL_PATIENTS
    what = f"{config.policy} fitted to {fitted.n_tiles} tiles of {fitted.n_slides} slides"
    _write_fitted(config, _comment(f"{what} in {config.store}: {whose}.") + fitted.toml)
    words = ["medsimclr", "pretrain", config.store, "--config", config.out, "--out", "RUN"]
    next_command = shlex.join(
        map(str, [*words, *(["--split", config.split] if config.split else ["--test-fraction", 0])])
    )
    if as_json:
        counts = {"n_slides": fitted.n_slides, "n_tiles": fitted.n_tiles}
        split = str(config.split) if config.split else None
        print_json({"out": str(config.out), "split": split, **counts, "next": next_command})
    else:
        print_lines([f"{what}: {whose}.", f"{config.out}", f"Next: {next_command}"])


_ALL_PATIENTS = (
    "all patients, since no --split was given; statistics of test patients leak into the training"
)


def _write_fitted(config: PolicyFitConfig, text: str) -> None:
    from medsimclr.files.atomic import output_errors, write_text

    with output_errors(config.out):
        is_other = config.out.exists() and config.out.read_bytes() != text.encode()
        config.out.parent.mkdir(parents=True, exist_ok=True)
    if is_other and not config.overwrite:
        raise ConfigError(
            f"--out {str(config.out)!r} must be new or hold what is to be written, got something "
            "else in it; add --overwrite or choose another --out."
        )
    write_text(config.out, text)


def _comment(text: str) -> str:
    # A path may hold a line break, which would end the comment.
    return f"# {' '.join(text.split())}\n"


def _show(config: PolicyShowConfig, as_json: bool) -> None:
    from medsimclr.report.policy_sheets import draw_policy_sheets
    from medsimclr.report.reach_figure import percent

    notes: list[str] = []
    sheets = draw_policy_sheets(config, note=notes.append)
    if as_json:
        print_json({name: sheet.record() for name, sheet in sheets.items()})
        return
    for name, sheet in sheets.items():
        missing = (
            "" if sheet.is_swept else " (no sweep of the strength: it has no scaled(strength))"
        )
        print_lines([f"{name}: {sheet.path}{missing}"])
        if sheet.covered:
            before, after = map(percent, sheet.covered)
            covered = f"{after} of the other {sheet.kind}s' tiles, the tiles themselves {before}"
            print_lines([f"  {sheet.reach_path}: its views cover {covered}"])
    print_lines(notes)


def _compare(config: PolicyCompareConfig, as_json: bool) -> None:
    from medsimclr.report.compare import compare_policies
    from medsimclr.report.comparison_table import comparison_notes, table_cells

    remember_signals()
    with show_progress("policies compare") as progress:
        comparison = compare_policies(config, progress=progress)
    if as_json:
        print_json({"out": str(config.out), **comparison.record()})
        return
    print_table(table_cells(comparison))
    print_lines([f"note: {note}" for note in comparison_notes(comparison)])
    print_lines([f"written: {config.out / 'comparison.png'}"])


def _suggest(config: PolicySuggestConfig, as_json: bool) -> None:
    from medsimclr.report.picture_files import check_picture_place, save_figure
    from medsimclr.report.policy_suggestion import suggest_policy
    from medsimclr.report.suggestion_figure import suggestion_figure
    from medsimclr.report.suggestion_table import (
        group_cells,
        reach_cells,
        suggested_commands,
        suggestion_notes,
    )

    check_picture_place(config.out, example="suggest.png")
    suggestion = suggest_policy(config)
    save_figure(suggestion_figure(suggestion), config.out)
    notes = suggestion_notes(suggestion, split=config.split)
    commands = suggested_commands(suggestion, store=config.store, split=config.split)
    if as_json:
        said = {"out": str(config.out), "notes": notes, "next": commands}
        print_json({**suggestion.record(), **said})
        return
    print_table(group_cells(suggestion))
    print_lines(notes)
    print_table(reach_cells(suggestion))
    print_lines([str(config.out), f"Next: {commands[0]}", *[f"  or: {c}" for c in commands[1:]]])


_list_command = build_command(PoliciesConfig, _list)
app.command("list", cls=OneValueCommand)(_list_command)
app.command("check", cls=OneValueCommand)(build_command(PolicyCheckConfig, _check))
app.command("fit", cls=OneValueCommand)(build_command(PolicyFitConfig, _fit))
app.command("show", cls=OneValueCommand)(build_command(PolicyShowConfig, _show))
app.command("suggest", cls=OneValueCommand)(build_command(PolicySuggestConfig, _suggest))
app.command("compare", cls=OneValueCommand)(build_command(PolicyCompareConfig, _compare))


@app.callback(invoke_without_command=True)
def list_without_command(
    context: typer.Context,
    as_json: bool = typer.Option(False, "--json", help="Write the list as JSON."),
) -> None:
    """List, check, fit and show augmentation policies; without a command, list them."""
    if context.invoked_subcommand is None:
        _list_command(config=None, set=None, json=as_json)
    elif as_json:
        with exit_on_error():
            raise ConfigError(
                f"--json belongs after the command, as in policies {context.invoked_subcommand} "
                "--json."
            )
