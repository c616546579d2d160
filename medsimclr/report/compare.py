"""`medsimclr policies compare`: which policy makes features that serve patients never seen.

OUT/comparison.json   every figure of every seed, means and intervals
OUT/comparison.csv    the table
OUT/comparison.png    the picture
"""

import csv
import io

from medsimclr.config.base import dump_toml
from medsimclr.config.compare import PolicyCompareConfig
from medsimclr.errors import ConfigError
from medsimclr.files.atomic import output_errors, write_json, write_text
from medsimclr.files.lock import exclusive_lock
from medsimclr.files.output_folder import check_output_folder
from medsimclr.report.comparison_cohort import open_cohort
from medsimclr.report.comparison_figure import comparison_figure
from medsimclr.report.comparison_runs import make_folders, row_configs, seed_figures
from medsimclr.report.comparison_table import Comparison, table_cells
from medsimclr.training.run_log import Progress, silent

__all__ = ["compare_policies"]


def compare_policies(config: PolicyCompareConfig, *, progress: Progress = silent) -> Comparison:
    """Pretrain every row with every seed, judge the features, and write table and picture.

    The table is written again after each seed, so that what is there can be read early.

    Raises:
        ConfigError: a setting does not fit, or the output holds another comparison.
        PolicyError: a policy is unknown or unusable.
        LabelError: the store lacks labels.
    """
    check_output_folder(config.out)
    if not config.rows():
        raise ConfigError(
            "policies compare needs a policy or more to compare, got none; name some, as in "
            "policies compare simclr histology --store STORE --out OUT."
        )
    cohort = open_cohort(config)
    row_configs(config, seed=0)
    with exclusive_lock(config.out):
        make_folders(config.out)
        found = []
        for seed in range(config.seeds):
            found.append(seed_figures(config, cohort, seed=seed, progress=progress))
            comparison = Comparison(
                seeds=tuple(found),
                read_from_features=cohort.read_from_features,
                unseen=config.unseen_centre or (str(config.unseen_store or "") or None),
                budget=_budget(config),
            )
            _write(config, comparison)
    return comparison


def _budget(config: PolicyCompareConfig) -> str:
    return (
        f"{config.epochs} epochs at batch {config.batch_size}, views of {config.view_px} px, "
        f"{config.seeds} seed(s)"
    )


def _write(config: PolicyCompareConfig, comparison: Comparison) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table_cells(comparison))
    write_text(config.out / "comparison.csv", text.getvalue())
    write_text(config.out / "config.toml", dump_toml(config.with_absolute_paths().record()))
    with output_errors(config.out):
        comparison_figure(comparison).savefig(config.out / "comparison.png", dpi=120)
    write_json(config.out / "comparison.json", comparison.record())
