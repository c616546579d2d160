"""--find-temperature: one normal run for each temperature, and a table of what they came to."""

import csv
import json
import os
import signal
import subprocess
import sys

import pytest

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.errors import CheckpointedError, ConfigError, NonFiniteLossError
from medsimclr.training import find_temperature as module
from medsimclr.training.find_temperature import (
    Trial,
    find_temperature,
    temperature_notes,
    temperature_table,
)
from medsimclr.training.pretrain import pretrain
from medsimclr.training.run_directory import read_lineage
from medsimclr.training.run_log import read_metrics
from tests.cli.command import COMMAND, medsimclr
from tests.tiny_store import write_tiny_store
from tests.training.signals import stop_after

TABLE_HEADER = ["temperature", "accuracy", "effective rank", "alignment", "uniformity", "kNN"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_tiny_store(tmp_path_factory.mktemp("store") / "tiny.zarr")


def make_config(store, out, **changes):
    settings = {
        "workers": 0,
        "device": "cpu",
        "precision": "fp32",
        "batch_size": 16,
        "view_px": 36,
        "policy": "simclr",
        "temperatures": [0.1, 1.0],
        "trial_epochs": 1,
        "find_temperature": True,
        **changes,
    }
    return PretrainConfig(store=store, out=out, **settings)


@pytest.fixture(scope="module")
def found(store, tmp_path_factory):
    """A comparison: its configuration, rows and what was said."""
    config = make_config(store, tmp_path_factory.mktemp("runs") / "found")
    lines = []
    trials = find_temperature(config, progress=lambda done, total, line: lines.append(line))
    return config, trials, lines


def test_a_note_on_the_patients_is_said_once(store, tmp_path):
    config = make_config(store, tmp_path / "found", test_fraction=0, health_tiles=0)
    lines = []
    find_temperature(config, progress=lambda done, total, line: lines.append(line))
    assert sum(line.startswith("note: none of the") for line in lines) == 1


def test_each_temperature_is_a_normal_run_and_a_row(found, tmp_path):
    config, trials, lines = found
    assert [trial.temperature for trial in trials] == [0.1, 1.0]
    assert "temperature 0.1" in lines
    for trial in trials:
        rows = read_metrics(config.out / f"temperature_{trial.temperature!r}")
        assert trial.accuracy == rows[-1]["accuracy"]
        assert trial.alignment == rows[-1]["alignment"]
        assert trial.uniformity == rows[-1]["uniformity"]
        assert trial.effective_rank == rows[-1]["effective_rank"] > 1
        assert trial.knn_balanced_accuracy == rows[-1]["knn_balanced_accuracy"] > 0
        assert trial.effective_rank_before == rows[0]["effective_rank"] > 1
        assert trial.knn_balanced_accuracy_before == rows[0]["knn_balanced_accuracy"] > 0
    assert trials[0].effective_rank_before == trials[1].effective_rank_before
    with (config.out / "temperatures.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [float(row["effective_rank"]) for row in written] == [t.effective_rank for t in trials]
    run = config.with_changes(
        out=tmp_path / "alone", temperature=1.0, epochs=1, find_temperature=False
    )
    pretrain(run)
    assert read_metrics(run.out) == read_metrics(config.out / "temperature_1.0")


def test_a_stopped_comparison_goes_on(store, tmp_path):
    def stop_at_first_step(done, total, line):
        if done == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    config = make_config(store, tmp_path / "found", log_seconds=1e-6)
    with pytest.raises(CheckpointedError, match="after step 1 of"):
        find_temperature(config, progress=stop_at_first_step)
    assert not (config.out / "temperature_1.0").exists()
    resumed = find_temperature(config)
    assert [trial.temperature for trial in resumed] == [0.1, 1.0]
    assert find_temperature(config) == resumed


def test_all_start_from_one_checkpoint_though_its_run_trains_on(store, tmp_path):
    fields = {"find_temperature": False, "epochs": 1, "health_tiles": 0}
    before = make_config(store, tmp_path / "before", **fields, log_seconds=1e-6)
    with pytest.raises(CheckpointedError, match="after step 1 of"):
        pretrain(before, progress=stop_after(1))

    def train_on(done, total, line):
        if line == "temperature 1":
            pretrain(before)

    config = make_config(store, tmp_path / "found", start_from=before.out, health_tiles=0)
    find_temperature(config, progress=train_on)

    runs = [config.out / f"temperature_{temperature}" for temperature in (0.1, 1.0)]
    assert [read_lineage(run).identity["run"]["step"] for run in runs] == [1, 1]


def test_a_run_that_diverges_is_a_row_and_the_next_follows(store, tmp_path, monkeypatch):
    def diverge_at_first(config, *, progress, source):
        if config.temperature == 0.1:
            raise NonFiniteLossError("the loss of step 1 must be finite, got nan.")
        pretrain(config, progress=progress)

    monkeypatch.setattr(module, "pretrain", diverge_at_first)
    trials = find_temperature(make_config(store, tmp_path / "found"))
    trouble = "the loss of step 1 must be finite, got nan."
    assert trials[0] == Trial(temperature=0.1, trouble=trouble)
    assert temperature_notes(trials)[0] == f"0.1: {trouble}"
    assert trials[1].accuracy is not None
    assert temperature_table(trials)[1] == ["0.1", "–", "–", "–", "–", "–"]


def test_rows_average_the_last_tenth_of_the_steps(store, tmp_path, monkeypatch):
    rows = [{"step": step, "accuracy": step / 100} for step in range(1, 21)]
    rows[-1]["effective_rank"] = 12.345
    rows[4]["warnings"] = ["collapse: that ended."]
    rows[-1]["warnings"] = ["collapse: of some kind."]
    monkeypatch.setattr(module, "pretrain", lambda config, **_: None)
    monkeypatch.setattr(module, "read_metrics", lambda run: rows)
    config = make_config(store, tmp_path, temperatures=[0.25])
    trials = find_temperature(config)
    assert temperature_notes(trials)[0] == "0.25: collapse: of some kind."
    assert temperature_table(trials) == [TABLE_HEADER, ["0.25", "0.195", "12.3", "–", "–", "–"]]


def test_epochs_are_those_asked_for_or_stay_within_the_budget(store, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "pretrain", lambda config, **_: seen.append(config.epochs))
    # 48 training tiles in batches of 16: 10 steps are 3 epochs and a bit.
    monkeypatch.setattr(module, "_STEP_BUDGET", 10)
    lines = []
    find_temperature(make_config(store, tmp_path, temperatures=[1.0], trial_epochs=7))
    asked = make_config(store, tmp_path, temperatures=[1.0])
    fields = {key: getattr(asked, key) for key in asked.model_fields_set - {"trial_epochs"}}
    find_temperature(
        PretrainConfig(**fields), progress=lambda done, total, line: lines.append(line)
    )
    assert seen == [7, 3]
    assert lines[0] == (
        "1 run(s), one after the other, at the temperatures 1: 3 epochs, 10 steps, each (5 would "
        "be beyond 10 steps); --set 'temperatures=[1]' and --set trial_epochs=3 change that"
    )


def test_what_is_left_aside_and_what_the_rest_will_take_are_said(found, store, tmp_path):
    config, _, lines = found
    assert lines[0].startswith(
        "2 run(s), one after the other, at the temperatures 0.1, 1: 1 epochs"
    )
    [took] = [line for line in lines if line.startswith("that took")]
    assert lines.index("temperature 0.1") < lines.index(took) < lines.index("temperature 1")
    assert took.endswith("for 1 more")
    assert not any("left aside" in line for line in lines)
    again = []
    asked = config.with_changes(epochs=7, temperature=0.5)
    find_temperature(asked, progress=lambda done, total, line: again.append(line))
    assert again[1:3] == [
        "epochs 7 is left aside by --find-temperature",
        "temperature 0.5 is left aside by --find-temperature",
    ]
    assert not any(line.startswith("that took") for line in again)


@pytest.mark.parametrize(("temperature", "word"), [(1e-6, "below"), (1000.0, "above")])
def test_an_absurd_temperature_is_named_in_runs_of_few_steps(store, tmp_path, temperature, word):
    config = make_config(store, tmp_path / "found", temperatures=[temperature])
    lines = []
    [trial] = find_temperature(config, progress=lambda done, total, line: lines.append(line))
    rows = read_metrics(config.out / f"temperature_{temperature!r}")
    assert len(rows) < 20
    said = f"the temperature {temperature:g} is far {word} the 0.05 to 1"
    assert trial.trouble.startswith(said)
    assert any(line.startswith(said) for line in lines)
    assert ("the temperature is too low; raise it" in trial.trouble) == (word == "below")


@pytest.mark.parametrize("temperature", [0.0, -0.1])
def test_a_temperature_of_zero_or_less_is_refused(store, tmp_path, temperature):
    with pytest.raises(ValueError, match=r"temperatures\.1\s+Input should be greater than 0"):
        make_config(store, tmp_path / "found", temperatures=[0.1, temperature])


def test_an_output_that_holds_something_else_is_refused(store, tmp_path):
    (tmp_path / "lineage.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"earlier --find-temperature, got 'lineage.json' in it"):
        find_temperature(make_config(store, tmp_path))


def test_command_prints_the_table_or_json_and_what_to_look_at(store, found, tmp_path):
    config, trials, _ = found
    words = ["pretrain", store, "--find-temperature", "--out", config.out, "--view-px", 36]
    words += ["--set", "temperatures=[0.1, 1.0]", "--set", "trial_epochs=1", "--set"]
    words += ["precision=fp32", "--batch-size", 16, "--workers", 0, "--device", "cpu"]
    words += ["--policy", "simclr"]
    printed = medsimclr(*words, cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    assert printed.stderr.count("already done") == 2
    header, first, second, before, *notes = printed.stdout.splitlines()
    assert before.startswith("before training")
    assert header.split() == " ".join(TABLE_HEADER).split()
    assert (first.split()[0], second.split()[0]) == ("0.1", "1")
    assert "cannot be compared" in notes[0]
    assert notes[-1] == f"written: {config.out / 'temperatures.csv'}"
    as_json = medsimclr(*words, "--json", cwd=tmp_path)
    assert json.loads(as_json.stdout)["trials"] == [trial.record() for trial in trials]


@pytest.mark.slow
def test_two_processes_compare_together_and_one_speaks(store, tmp_path):
    words = ["pretrain", store, "--find-temperature", "--out", tmp_path / "found", "--view-px", 36]
    words += ["--set", "temperatures=[0.1, 1.0]", "--set", "trial_epochs=1", "--set"]
    words += ["health_tiles=0", "--batch-size", 16, "--workers", 0, "--device", "cpu"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node", "2", "--no-python"]
    ended = subprocess.run(
        [*launcher, *COMMAND, *map(str, words)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stderr
    assert [line.split()[0] for line in ended.stdout.splitlines()[:3]] == [
        "temperature",
        "0.1",
        "1",
    ]
    assert ended.stdout.count("written: ") == 1
