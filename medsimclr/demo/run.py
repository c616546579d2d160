"""`medsimclr demo`: the whole path on slides of its own making, by the commands' own functions."""

import json
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medsimclr.config.base import Argument, CommandConfig, Flag, difference
from medsimclr.config.demo import DemoConfig
from medsimclr.config.distill import DistillConfig
from medsimclr.config.evaluate import EvaluateConfig
from medsimclr.config.finetune import FinetuneConfig
from medsimclr.config.heatmap import HeatmapConfig
from medsimclr.config.policies import PolicyShowConfig
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.config.tile import TileConfig
from medsimclr.demo.cohort import Cohort, write_cohort
from medsimclr.errors import ConfigError
from medsimclr.evaluation.result import Evaluation
from medsimclr.files.atomic import output_errors, write_json
from medsimclr.files.output_folder import check_output_folder
from medsimclr.report.evaluate import evaluate
from medsimclr.report.policy_sheets import draw_policy_sheets
from medsimclr.report.slide_pictures import draw_heatmap
from medsimclr.report.slide_preview import draw_preview
from medsimclr.store.reader import TileStore
from medsimclr.tiling.tile import tile
from medsimclr.training.distill import distill
from medsimclr.training.finetune import finetune
from medsimclr.training.pretrain import pretrain
from medsimclr.training.run_directory import read_lineage, run_split
from medsimclr.training.run_log import Progress, silent

__all__ = ["DemoResult", "DemoSize", "demo"]

_TUMOR = "tumor"
# With the default of 0.005 the few steps of the demo end before the labels are learned.
_FINETUNE_BASE_LR = 0.03


@dataclass(frozen=True)
class DemoSize:
    """How much the demo does."""

    n_slides: int
    side_px: int
    """Side of a slide, pixels at 0.5 um/px."""
    tile_px: int
    view_px: int
    labels: int
    pretrain_epochs: int
    finetune_epochs: int
    distill_epochs: int


_FULL = DemoSize(
    n_slides=12,
    side_px=2048,
    tile_px=128,
    view_px=64,
    labels=200,
    pretrain_epochs=6,
    finetune_epochs=30,
    distill_epochs=8,
)
_SMOKE = DemoSize(
    n_slides=6,
    side_px=1024,
    tile_px=128,
    view_px=64,
    labels=40,
    pretrain_epochs=1,
    finetune_epochs=2,
    distill_epochs=1,
)


@dataclass(frozen=True)
class DemoResult:
    """What the demo did and where it lies."""

    commands: list[str]
    evaluation: Evaluation
    places: dict[str, str]

    def record(self) -> dict[str, Any]:
        """Return what matters as JSON values."""
        rows = {row.name: asdict(row.metrics) for row in self.evaluation.rows}
        return {"commands": self.commands, "result": rows, "places": self.places}


def demo(config: DemoConfig, *, progress: Progress = silent) -> DemoResult:
    """Make a cohort and run tile, pretrain, finetune, distill, evaluate and the pictures on it."""
    size = _SMOKE if config.smoke else _FULL
    _claim(config)
    progress(0, 0, f"making {size.n_slides} synthetic slides")
    cohort = write_cohort(
        config.out / "cohort",
        n_slides=size.n_slides,
        side_px=size.side_px,
        n_patients=size.n_slides,
        seed=config.seed,
    )
    steps = _configure(config, size, cohort)
    commands: list[str] = []

    def say(name: str, settings: CommandConfig) -> None:
        progress(0, 0, name)
        commands.append(_as_command(name, settings))

    say("tile", steps.tile)
    tile(steps.tile, progress=progress)
    say("pretrain", steps.pretrain)
    pretrain(steps.pretrain, progress=progress)
    say("finetune", steps.finetune)
    finetune(steps.finetune, progress=progress)
    say("distill", steps.distill)
    distill(steps.distill, progress=progress)
    say("evaluate", steps.evaluate)
    evaluation = evaluate(steps.evaluate, progress=progress)
    places = _draw(config.out, steps.finetune, say)
    return DemoResult(commands=commands, evaluation=evaluation, places=places)


def _claim(config: DemoConfig) -> None:
    """Record what the folder is a demo of, or refuse one that holds something else."""
    path = config.out / "demo.json"
    record = {"smoke": config.smoke, "seed": config.seed}
    if path.is_file():
        changes = difference(json.loads(path.read_bytes()), record)
        if changes:
            raise ConfigError(
                f"--out {str(config.out)!r} holds another demo ({'; '.join(changes)}); choose "
                "another --out."
            )
        return
    check_output_folder(config.out)
    with output_errors(config.out):
        config.out.mkdir(parents=True, exist_ok=True)
    if any(config.out.iterdir()):
        raise ConfigError(
            f"--out {str(config.out)!r} must be new, empty or a demo, got other files; choose "
            "another --out."
        )
    write_json(path, record)


@dataclass(frozen=True)
class _Steps:
    tile: TileConfig
    pretrain: PretrainConfig
    finetune: FinetuneConfig
    distill: DistillConfig
    evaluate: EvaluateConfig


def _configure(config: DemoConfig, size: DemoSize, cohort: Cohort) -> _Steps:
    out, store = config.out, config.out / "tiles.zarr"
    shared = {"store": store, "seed": config.seed, "workers": config.workers}
    pretrained, finetuned, distilled = (
        out / name for name in ("pretrained", "finetuned", "distilled")
    )
    return _Steps(
        tile=TileConfig(
            inputs=[cohort.slides_dir],
            out=store,
            mpp=0.5,
            tile_px=size.tile_px,
            annotations=cohort.annotations_dir,
            slides_csv=cohort.slides_csv,
        ),
        pretrain=PretrainConfig(
            **shared,
            out=pretrained,
            epochs=size.pretrain_epochs,
            batch_size=64,
            view_px=size.view_px,
        ),
        finetune=FinetuneConfig(
            **shared,
            run=pretrained,
            out=finetuned,
            labels=size.labels,
            epochs=size.finetune_epochs,
            batch_size=32,
            base_lr=_FINETUNE_BASE_LR,
        ),
        distill=DistillConfig(
            **shared,
            run=finetuned,
            out=distilled,
            epochs=size.distill_epochs,
            batch_size=64,
        ),
        evaluate=EvaluateConfig(**shared, runs=[finetuned, distilled], out=out / "evaluation"),
    )


def _draw(
    out: Path, finetuning: FinetuneConfig, say: Callable[[str, CommandConfig], None]
) -> dict[str, str]:
    store = TileStore(finetuning.store)
    split = run_split(finetuning.out)
    tested = [s.slide_id for s in store.slides if split.get(s.patient or s.slide_id) == "test"]
    slide_id = tested[0]
    draw_preview(store, slide_id, out / "pictures" / f"tiles_{slide_id}.png")
    drawing = PolicyShowConfig(
        policy=read_lineage(finetuning.out).policy,
        store=finetuning.store,
        out=out / "pictures" / "policies",
    )
    say("policies show", drawing)
    # The demo's patients have stains to compare: there is nothing to note.
    sheets = draw_policy_sheets(drawing, note=lambda reason: None)
    reached = {
        str(sheet.reach_path): f"whether {name} reaches the stains of other {sheet.kind}s"
        for name, sheet in sheets.items()
        if sheet.reach_path
    }
    mapping = HeatmapConfig(
        run=finetuning.out,
        store=finetuning.store,
        slide=slide_id,
        out=out / "pictures" / f"heatmap_{slide_id}.png",
        class_name=_TUMOR,
    )
    say("heatmap", mapping)
    draw_heatmap(mapping)
    return {
        f"{out}/cohort": "slides, annotations, slides.csv",
        f"{out}/tiles.zarr": "the tile store",
        f"{out}/pretrained, finetuned, distilled": "runs: configuration, log, checkpoints",
        f"{out}/evaluation/result.json": "every figure and interval",
        f"{out}/evaluation/evaluation.png": "the same as a picture",
        f"{out}/pictures/tiles_{slide_id}.png": "tissue mask and tile grid",
        **{str(sheet.path): f"views of the policy {name}" for name, sheet in sheets.items()},
        **reached,
        str(mapping.out): "tumour heat map beside the annotation",
    }


def _as_command(name: str, settings: CommandConfig) -> str:
    """Return the command line that gives the same configuration."""
    words = ["medsimclr", *name.split()]
    options: list[str] = []
    for key in sorted(settings.model_fields_set, key=list(type(settings).model_fields).index):
        value = getattr(settings, key)
        markers = type(settings).model_fields[key].metadata
        if any(isinstance(marker, Flag) for marker in markers):
            options += [f"--{key.replace('_', '-')}", str(value)]
        elif not any(isinstance(marker, Argument) for marker in markers):
            options += ["--set", f"{key}={value}"]
        else:
            words += [str(item) for item in (value if isinstance(value, list) else [value])]
    return shlex.join([*words, *options])
