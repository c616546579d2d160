"""Options are read into a configuration, or refused in our words."""

import re

import pytest
import typer
from typer.testing import CliRunner

from medsimclr.cli import main, policies
from medsimclr.cli.options import OneValueCommand, build_command
from medsimclr.config.base import dump_toml
from medsimclr.config.finetune import FinetuneConfig
from medsimclr.config.pretrain import PretrainConfig


def given(model, *words):
    """Run a command of this model; return its exit code, its stderr and its configuration."""
    configs = []
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command = build_command(model, lambda config, as_json: configs.append(config))
    app.command(cls=OneValueCommand)(command)
    result = CliRunner().invoke(app, ["s.zarr", "--out", "run", *words])
    return result.exit_code, result.stderr, configs[0] if configs else None


def test_options_of_every_kind_are_read():
    words = "--depth 50 --epochs 3 --temperature .5 --policy 7 --split 1.csv --selective-kernels"
    code, _, config = given(PretrainConfig, *words.split())
    assert code == 0
    assert (config.depth, config.epochs, config.temperature) == (50, 3, 0.5)
    assert (config.policy, str(config.split), config.selective_kernels) == ("7", "1.csv", True)
    code, _, config = given(FinetuneConfig, *"--store s --classes 1 --classes b".split())
    assert (code, config.classes) == (0, ["1", "b"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--epochs many", "--epochs must be a whole number, got 'many'."),
        ("--depth 19", "--depth must be 18, 34, 50, 101, 152 or 200, got 19."),
        ("--batch-size 1", "--batch-size must be at least 2, got 1."),
        (
            "--epochs 3 --epochs 4",
            "--epochs must have one value on a command line, got 3 and 4; leave one out.",
        ),
        (
            "--split a --set split=b",
            "--split and --set split must have one value on a command line, got 'a' and 'b'; "
            "leave one out.",
        ),
        (
            "--config a.toml --config b.toml",
            "--config must have one value on a command line, got 'a.toml' and 'b.toml'; leave one "
            "out.",
        ),
        (
            "--no-selective-kernels --selective-kernels",
            "give either --selective-kernels or --no-selective-kernels, got both.",
        ),
        (
            "--split a.csv --test-fraction 0.3",
            "give either --split or --test-fraction, got 'a.csv' and 0.3: the table alone says "
            "who is kept for the test; leave one out.",
        ),
        (
            "--config none.toml",
            "--config 'none.toml' must be a readable TOML file: No such file or directory; check "
            "its path, and see the config.toml of any earlier output for an example.",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(words, sentence):
    code, said, _ = given(PretrainConfig, *words.split())
    assert (code, said) == (2, f"medsimclr: {sentence}\n")


def test_the_same_value_twice_is_one_value():
    code, _, config = given(PretrainConfig, *"--epochs 3 --epochs 3 --set epochs=3".split())
    assert (code, config.epochs) == (0, 3)
    code, _, config = given(PretrainConfig, *"--selective-kernels --selective-kernels".split())
    assert (code, config.selective_kernels) == (0, True)


def test_the_record_of_a_run_under_a_split_can_be_given_again(tmp_path):
    _, _, config = given(PretrainConfig, *"--split a.csv".split())
    again = tmp_path / "config.toml"
    again.write_text(dump_toml(config.record()))
    code, said, read = given(PretrainConfig, "--config", str(again), "--config", str(again))
    assert (code, said, read) == (0, "", config)
    assert config.with_changes(epochs=2).split == config.split
    assert config.identity()["test_fraction"] == 0.25


def test_the_help_says_what_an_option_takes():
    app = typer.Typer(add_completion=False)
    app.command()(build_command(PretrainConfig, lambda config, as_json: None))
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}, color=False)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", result.output)
    assert re.search(r"--epochs +<int> ", shown)
    assert re.search(r"--depth +<18\|34\|50\|101\|152\|200> ", shown)


@pytest.mark.parametrize("group", [main.app, policies.app], ids=["medsimclr", "policies"])
def test_no_command_takes_the_last_of_a_switch_given_both_ways(group):
    assert {command.cls for command in group.registered_commands} == {OneValueCommand}
