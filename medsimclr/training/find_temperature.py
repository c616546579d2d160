"""`medsimclr pretrain --find-temperature`: short runs at several temperatures, compared.

Each is a normal pretraining below --out with the same seed, so it resumes like one:

temperature_0.1/    a run directory for each temperature
temperatures.csv    the table
"""

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.errors import ConfigError, NonFiniteLossError
from medsimclr.files.atomic import write_text
from medsimclr.optim.schedule import total_steps
from medsimclr.training.checkpoint_files import Checkpoint
from medsimclr.training.inheritance import starting_checkpoint
from medsimclr.training.material import open_material
from medsimclr.training.pretrain import choose_split, pretrain
from medsimclr.training.run_log import Progress, format_seconds, read_metrics, silent
from medsimclr.training.session import open_session

__all__ = ["TABLE", "Trial", "find_temperature", "temperature_notes", "temperature_table"]

TABLE = "temperatures.csv"
_NOTES = (
    "The loss is left out: NT-Xent values of different temperatures cannot be compared.",
    "With labels, the highest kNN decides. Without, look for an effective rank that is among the "
    "highest together with a high contrastive accuracy: a rank that falls behind means that tiles "
    "look ever more alike. Lower alignment: views of a tile lie closer; lower uniformity: tiles "
    "spread more. What does not beat the network before training has taught it nothing.",
    "These are short runs of one seed: repeat with another --seed before trusting a few percent.",
)
# Without a wish for trial_epochs, a temperature gets at most this many steps (chosen here: 2,000
# steps of 256 are 10 passes over 50,000 tiles), but always a whole epoch.
_STEP_BUDGET = 2000
_AVERAGED_SHARE = 0.1


@dataclass(frozen=True)
class Trial:
    """What a short run came to; None where it was not measured or the loss was not finite."""

    temperature: float
    accuracy: float | None = None
    """Contrastive accuracy; like the next two, the mean of the last tenth of the steps."""
    alignment: float | None = None
    uniformity: float | None = None
    effective_rank: float | None = None
    """RankMe of the health sample at the end."""
    knn_balanced_accuracy: float | None = None
    """Of the health sample at the end, neighbours of other patients only; where labels exist."""
    effective_rank_before: float | None = None
    """RankMe before the first step; like the next, the same at every temperature."""
    knn_balanced_accuracy_before: float | None = None
    trouble: str = ""
    """What the run was warned of up to its end, or why it ended early."""

    def record(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return asdict(self)


def find_temperature(config: PretrainConfig, *, progress: Progress = silent) -> list[Trial]:
    """Pretrain shortly at each of `config.temperatures` and compare; run again, it goes on.

    A run whose loss diverges gives a row that says so, and the next temperature follows.

    Args:
        config: what a whole pretraining would get; `temperature` and `epochs` are replaced.
        progress: shows a line.

    Returns:
        A row for each temperature, in their order; the same are in temperatures.csv.

    Raises:
        ConfigError: the output holds something else.
        CheckpointedError: a signal came; see `loop.train`.
    """
    _check_output(config.out)
    progress = _notes_once(progress)
    # Processes that torchrun started meet once, for all trials.
    with open_session(config) as session:
        epochs = _announce(config, progress)
        # Once, too: the run to start from may still be training.
        source = starting_checkpoint(config, group=session.group, progress=progress)
        temperatures = list(dict.fromkeys(config.temperatures))
        trials: list[Trial] = []
        for temperature in temperatures:
            run = config.with_changes(
                out=config.out / f"temperature_{temperature!r}",
                temperature=temperature,
                epochs=epochs,
                find_temperature=False,
            )
            is_first, start = not trials and not run.out.exists(), time.monotonic()
            trials.append(_try(run, source, progress))
            n_left = len(temperatures) - len(trials)
            if is_first and n_left:
                seconds = time.monotonic() - start
                left = format_seconds(n_left * seconds)
                progress(0, 0, f"that took {format_seconds(seconds)}; {left} for {n_left} more")
        if session.group.is_main:
            write_text(config.out / TABLE, _csv(trials))
    return trials


def _notes_once(progress: Progress) -> Progress:
    """Leave out notes that were shown before: every trial has those of its patients."""
    shown: set[str] = set()

    def show(done: int, total: int, line: str) -> None:
        if line not in shown:
            progress(done, total, line)
        if line.startswith("note"):
            shown.add(line)

    return show


def _try(run: PretrainConfig, source: Checkpoint | None, progress: Progress) -> Trial:
    progress(0, 0, f"temperature {run.temperature:g}")
    try:
        pretrain(run, progress=progress, source=source)
    except NonFiniteLossError as error:
        progress(0, 0, str(error))
        return Trial(temperature=run.temperature, trouble=str(error))
    return _read_trial(run.out, run.temperature)


def temperature_table(trials: Sequence[Trial]) -> list[list[str]]:
    """Lay the trials out as cells, the header first."""
    header = ["temperature", "accuracy", "effective rank", "alignment", "uniformity", "kNN"]
    rows = [
        [
            f"{trial.temperature:g}",
            _cell(trial.accuracy, 3),
            _cell(trial.effective_rank, 1),
            _cell(trial.alignment, 3),
            _cell(trial.uniformity, 2),
            _cell(trial.knn_balanced_accuracy, 3),
        ]
        for trial in trials
    ]
    # One seed, and so one network to begin with.
    before = next((trial for trial in trials if trial.effective_rank_before is not None), None)
    if before is not None:
        rank = _cell(before.effective_rank_before, 1)
        neighbours = _cell(before.knn_balanced_accuracy_before, 3)
        rows.append(["before training", "–", rank, "–", "–", neighbours])
    return [header, *rows]


def temperature_notes(trials: Sequence[Trial]) -> list[str]:
    """Return what a reader of the table has to know: what went wrong, and what to look at."""
    troubles = [f"{trial.temperature:g}: {trial.trouble}" for trial in trials if trial.trouble]
    return [*troubles, *_NOTES]


def _cell(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


def _check_output(out: Path) -> None:
    """Refuse a folder that holds anything but an earlier comparison."""
    others = [
        path.name
        for path in (out.iterdir() if out.is_dir() else ())
        if not path.name.startswith((".", "temperature_", TABLE))
    ]
    if others:
        raise ConfigError(
            f"--out {str(out)!r} must be new, empty or an earlier --find-temperature, got "
            f"{min(others)!r} in it; choose another --out."
        )


def _announce(config: PretrainConfig, progress: Progress) -> int:
    """Say what will be done; return the epochs of a trial.

    These are those asked for, else those that the step budget allows.
    """
    material = open_material(config.store)
    where = str(config.split or "drawn from the seed")
    n_tiles = len(material.training_tiles(choose_split(config, material), where=where))
    epochs = config.trial_epochs
    if "trial_epochs" not in config.model_fields_set:
        epochs = min(epochs, max(1, _STEP_BUDGET * config.batch_size // n_tiles))
    shortened = f" ({config.trial_epochs} would be beyond {_STEP_BUDGET} steps)"
    n_runs, shown = len(set(config.temperatures)), ", ".join(f"{t:g}" for t in config.temperatures)
    progress(
        0,
        0,
        f"{n_runs} run(s), one after the other, at the temperatures {shown}: {epochs} epochs, "
        f"{total_steps(n_tiles, config.batch_size, epochs)} steps, each"
        f"{shortened if epochs < config.trial_epochs else ''}; --set 'temperatures=[{shown}]' and "
        f"--set trial_epochs={epochs} change that",
    )
    for name in sorted({"epochs", "temperature"} & config.model_fields_set):
        progress(0, 0, f"{name} {getattr(config, name):g} is left aside by --find-temperature")
    return epochs


def _read_trial(run: Path, temperature: float) -> Trial:
    rows = read_metrics(run) or [{"step": 0}]
    before = next((row for row in rows if row["step"] == 0), {})
    last = rows[-max(1, round(_AVERAGED_SHARE * len(rows))) :]

    def mean(name: str) -> float | None:
        values = [row[name] for row in last if row.get(name) is not None]
        return fmean(values) if values else None

    return Trial(
        temperature=temperature,
        accuracy=mean("accuracy"),
        alignment=mean("alignment"),
        uniformity=mean("uniformity"),
        effective_rank=rows[-1].get("effective_rank"),
        knn_balanced_accuracy=rows[-1].get("knn_balanced_accuracy"),
        effective_rank_before=before.get("effective_rank"),
        knn_balanced_accuracy_before=before.get("knn_balanced_accuracy"),
        trouble=" ".join(rows[-1].get("warnings", [])),
    )


def _csv(trials: Sequence[Trial]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Trial)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(trial.record() for trial in trials)
    return text.getvalue()
