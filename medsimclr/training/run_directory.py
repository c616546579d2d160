"""A run directory: what was asked, on what, and what came of it.

config.toml        the resolved configuration
environment.json   versions, processor, device, precision
lineage.json       the store's content, the patients trained on, the policy, the runs before
split.csv          patient,split
metrics.jsonl      one line a logged step;  tensorboard/  the same as events
checkpoints/       see `checkpoint`
"""

import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medsimclr.config.base import difference, dump_toml, load_toml, option_name
from medsimclr.config.training import TrainingConfig
from medsimclr.data.split import Part, read_split, write_split
from medsimclr.errors import ConfigError, IntegrityError, NoInputError
from medsimclr.files.atomic import PARTIAL_SUFFIX, remove_partials, write_json, write_text
from medsimclr.files.lock import exclusive_lock
from medsimclr.training.compute import Compute

__all__ = [
    "LABELLED",
    "Lineage",
    "check_run",
    "open_run",
    "read_lineage",
    "recorded_threads",
    "run_split",
]

LABELLED = "labelled_tiles.csv"
"""Table of the tiles whose labels a run saw."""

_PACKAGES = ("medsimclr", "torch", "numpy", "zarr", "albumentations", "opencv-python-headless")


class Lineage(BaseModel):
    """Where a network's knowledge comes from; it grows from run to run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    command: str
    """pretrain, finetune or distill."""
    store_sha256: str
    """Digest over the tiling and every shard digest of the store."""
    policy: str
    policy_record: dict[str, Any]
    patients_unlabelled: list[str]
    """Patients whose tiles were seen without labels, here or before."""
    patients_labelled: list[str]
    """Patients whose labels were seen, here or before."""
    policy_fitted_on: list[str] = Field(default_factory=list)
    """Patients whose tiles the policy's fields were fitted to, among those seen without labels:
    whoever takes the policy over has seen them too. Runs of earlier versions do not name them."""
    identity: dict[str, Any]
    """What decides the numbers; a continuation must repeat it."""


@contextmanager
def open_run(
    config: TrainingConfig,
    lineage: Lineage,
    split: Mapping[str, Part],
    *,
    compute: Compute,
    n_processes: int,
) -> Iterator[Path]:
    """Hold a run directory for one training, new or to be continued.

    Raises:
        ConfigError: the directory holds another run; the differences are shown.
        LockedError: another process trains there.
    """
    out = config.out
    with exclusive_lock(out):
        check_run(config, lineage)
        others = {path.name for path in out.iterdir()} - {"lineage.json" + PARTIAL_SUFFIX}
        if others and "lineage.json" not in others:
            raise ConfigError(
                f"--out {str(out)!r} must be new, empty or a run directory, got other files; "
                "choose another --out."
            )
        remove_partials(out)
        # First of all: it is what says that this folder is a run, also after a kill right here.
        write_json(out / "lineage.json", lineage.model_dump(mode="json"))
        write_text(out / "config.toml", dump_toml(config.with_absolute_paths().record()))
        write_json(out / "environment.json", _environment(compute, n_processes))
        write_split(out / "split.csv", split)
        yield out


def read_lineage(run: Path) -> Lineage:
    """Read the lineage of a run.

    Raises:
        NoInputError: it is no run directory.
        IntegrityError: its lineage.json is damaged.
    """
    path = run / "lineage.json"
    if not path.is_file():
        found = "a folder without a lineage.json" if run.is_dir() else "no folder of that name"
        raise NoInputError(
            f"{str(run)!r} must be a run directory, got {found}; give the --out of pretrain, "
            "finetune or distill."
        )
    try:
        return Lineage.model_validate(json.loads(path.read_bytes()))
    except (ValueError, ValidationError) as error:
        raise IntegrityError(f"{str(path)!r} is damaged: {str(error).splitlines()[0]}.") from error


def recorded_threads(run: Path) -> int | None:
    """Return with how many threads a run was computed, if it says so.

    Another number would sum in another order, and a continued run end in other bits.
    """
    try:
        threads = json.loads((run / "environment.json").read_bytes())["threads"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return threads if isinstance(threads, int) and 1 <= threads <= 1024 else None


def run_split(run: Path) -> dict[str, Part]:
    """Return the split that a run was trained under."""
    return read_split(run / "split.csv")


def check_run(config: TrainingConfig, lineage: Lineage) -> None:
    """Refuse a run directory, if config.out is one, that holds another run.

    Raises:
        ConfigError: the differences are shown.
    """
    out = config.out
    if not (out / "lineage.json").is_file():
        return
    before, now = (part.model_dump(mode="json") for part in (read_lineage(out), lineage))
    was, wanted = before.pop("identity"), now.pop("identity")
    # These are among the patients seen; a run begun before they were named apart still goes on.
    before.pop("policy_fitted_on"), now.pop("policy_fitted_on")
    changes = _source_change(config, was.pop("run", None), wanted.pop("run", None))
    changes += difference(was, wanted) + difference(before, now)
    if changes:
        shown = "; ".join(
            change if len(change) < 200 else change[:200] + "..." for change in changes
        )
        raise ConfigError(
            f"run {str(out)!r} belongs to another configuration ({shown}); repeat that "
            "configuration to resume it, or choose another --out."
        )


def _source_change(
    config: TrainingConfig, before: dict[str, Any] | None, now: dict[str, Any] | None
) -> list[str]:
    """Say from which checkpoints a run began and is to begin, if these are not the same."""
    if before == now:
        return []
    key = "run" if "run" in type(config).model_fields else "start_from"
    recorded = config.out / "config.toml"
    was = load_toml(recorded).get(key) if recorded.is_file() else None
    parts = [
        f"step {source['step']} of {str(path)!r}, weights {source['weights_sha256'][:8]}"
        if source is not None
        else "not set"
        for source, path in ((before, was), (now, getattr(config, key)))
    ]
    return [f"{option_name(type(config), key)}: {' -> '.join(parts)}"]


def _environment(compute: Compute, n_processes: int) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": platform.processor() or "unknown",
        "device": str(compute.device),
        "precision": compute.precision,
        "threads": torch.get_num_threads(),
        "processes": n_processes,
        "packages": {name: version(name) for name in _PACKAGES},
    }
