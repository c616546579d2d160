"""`medsimclr pretrain --find-temperature`: short runs at several temperatures, compared.

Each is a normal pretraining below --out with the same seed, so it resumes like one:

temperature_0.1/    a run directory for each temperature
temperatures.csv    the table
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.errors import ConfigError, NonFiniteLossError
from medsimclr.files.atomic import write_text
from medsimclr.training.material import open_material
from medsimclr.training.pretrain import choose_split, pretrain
from medsimclr.training.run_log import Progress, read_metrics, silent
from medsimclr.training.session import open_session

__all__ = ["TABLE", "Trial", "find_temperature", "temperature_notes", "temperature_table"]

TABLE = "temperatures.csv"
_NOTES = (
    "The loss is left out: NT-Xent values of different temperatures cannot be compared.",
    "With labels, the highest kNN decides. Without, look for an effective rank that is among the "
    "highest together with a high contrastive accuracy: a rank that falls behind means that tiles "
    "look ever more alike. Lower alignment: views of a tile lie closer; lower uniformity: tiles "
    "spread more.",
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
    trouble: str = ""
    """What the run was warned of while it trained, or why it ended early."""

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
    # Processes that torchrun started meet once, for all trials.
    with open_session(config) as session:
        epochs = _trial_epochs(config, progress)
        trials = []
        for temperature in dict.fromkeys(config.temperatures):
            run = config.with_changes(
                out=config.out / f"temperature_{temperature!r}",
                temperature=temperature,
                epochs=epochs,
                find_temperature=False,
            )
            trials.append(_try(run, progress))
        if session.group.is_main:
            write_text(config.out / TABLE, _csv(trials))
    return trials


def _try(run: PretrainConfig, progress: Progress) -> Trial:
    progress(0, 0, f"temperature {run.temperature:g}")
    try:
        pretrain(run, progress=progress)
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


def _trial_epochs(config: PretrainConfig, progress: Progress) -> int:
    """Return the epochs of a trial: those asked for, else those that the step budget allows."""
    if "trial_epochs" in config.model_fields_set:
        return config.trial_epochs
    material = open_material(config.store)
    where = str(config.split or "drawn from the seed")
    n_tiles = len(material.training_tiles(choose_split(config, material), where=where))
    affordable = max(1, _STEP_BUDGET * config.batch_size // n_tiles)
    if affordable < config.trial_epochs:
        progress(
            0,
            0,
            f"{affordable} instead of {config.trial_epochs} epochs a temperature, to stay within "
            f"{_STEP_BUDGET} steps where that is a whole epoch; --set trial_epochs overrules this",
        )
    return min(config.trial_epochs, affordable)


def _read_trial(run: Path, temperature: float) -> Trial:
    rows = read_metrics(run) or [{}]
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
        trouble=" ".join(warning for row in rows for warning in row.get("warnings", [])),
    )


def _csv(trials: Sequence[Trial]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Trial)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(trial.record() for trial in trials)
    return text.getvalue()
