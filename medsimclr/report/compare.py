"""`medsimclr policies compare`: which policy makes features that serve patients never seen.

OUT/comparison.json   every figure of every seed, means and intervals
OUT/comparison.csv    the table
OUT/comparison.png    the picture
"""

import csv
import io
from collections.abc import Sequence

from medsimclr.config.base import dump_toml
from medsimclr.config.compare import PolicyCompareConfig
from medsimclr.data.split import Split, read_split, write_split
from medsimclr.errors import ConfigError
from medsimclr.files.atomic import output_errors, write_json, write_text
from medsimclr.files.lock import exclusive_lock
from medsimclr.files.output_folder import check_output_folder
from medsimclr.report.comparison_cohort import open_cohort
from medsimclr.report.comparison_figure import comparison_figure
from medsimclr.report.comparison_runs import SeedFigures, row_configs, seed_figures
from medsimclr.report.comparison_table import Comparison, table_cells
from medsimclr.report.picture_files import save_figure
from medsimclr.training.run_log import Progress, silent

__all__ = ["compare_policies"]


def compare_policies(config: PolicyCompareConfig, *, progress: Progress = silent) -> Comparison:
    """Pretrain every row with every seed, judge the features, and write table and picture.

    The table is written again after each seed, so that what is there can be read early.

    Raises:
        ConfigError: a setting does not fit, or the output holds another comparison.
        PolicyError: a policy is unknown or unusable.
        LabelError: the store, or a part of it, lacks labels.
    """
    check_output_folder(config.out)
    if not config.rows():
        raise ConfigError(
            "policies compare needs a policy or more to compare, got none; name some, as in "
            "policies compare simclr histology --store STORE --out OUT."
        )
    cohort = open_cohort(config)
    row_configs(config, seed=0)
    splits = [cohort.split(n_folds=config.folds, seed=seed) for seed in range(config.seeds)]
    with exclusive_lock(config.out):
        _claim(config, splits)
        found: list[dict[str, SeedFigures]] = []
        for seed, split in enumerate(splits):
            found.append(seed_figures(config, cohort, split, seed=seed, progress=progress))
            comparison = Comparison(
                seeds=tuple(found),
                read_from_features=cohort.read_from_features,
                unseen=config.unseen_centre or (str(config.unseen_store or "") or None),
                budget=f"{config.epochs} epochs, batch {config.batch_size}, {config.view_px} px",
                n_folds=config.folds,
                tested=tuple(cohort.n_tested(split) for split in splits[: seed + 1]),
            )
            _write(config, comparison)
    return comparison


def _claim(config: PolicyCompareConfig, splits: Sequence[Split]) -> None:
    """Write the splits, or refuse a place that holds others: runs there saw other patients."""
    if not (config.out / "splits").is_dir():
        strangers = [p.name for p in config.out.iterdir() if not p.name.startswith(".")]
        if strangers:
            raise ConfigError(
                f"--out {str(config.out)!r} must be new, empty or an earlier comparison, got "
                f"{min(strangers)!r} in it; choose another --out."
            )
    with output_errors(config.out):
        for name in ("splits", "runs", "figures"):
            (config.out / name).mkdir(parents=True, exist_ok=True)
    paths = [config.out / "splits" / f"{seed}.csv" for seed in range(len(splits))]
    for path, split in zip(paths, splits, strict=True):
        if path.is_file() and read_split(path) != split:
            raise ConfigError(
                f"--out {str(config.out)!r} holds a comparison with other test patients "
                f"({str(path)!r}); choose another --out, or the same store, --folds and "
                "--unseen-centre."
            )
        write_split(path, split)


def _write(config: PolicyCompareConfig, comparison: Comparison) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table_cells(comparison))
    write_text(config.out / "comparison.csv", text.getvalue())
    write_text(config.out / "config.toml", dump_toml(config.with_absolute_paths().record()))
    save_figure(comparison_figure(comparison), config.out / "comparison.png")
    write_json(config.out / "comparison.json", comparison.record())
