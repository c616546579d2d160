"""The smoke demo leaves a whole result: every stage ran on real files."""

import json

import pytest
from PIL import Image

from medsimclr.config.demo import DemoConfig
from medsimclr.demo.run import demo
from medsimclr.evaluation.result import from_json
from medsimclr.store.reader import TileStore

pytestmark = pytest.mark.slow


def test_store_holds_every_slide_with_labels_of_both_kinds(smoke_demo):
    store = TileStore(smoke_demo / "tiles.zarr")
    assert len(store.slides) == 6
    assert {slide.centre for slide in store.slides} == {"A", "B"}
    assert store.meta.classes == ["normal", "tumor"]
    assert set(store.table("label").tolist()) >= {0, 1}


def test_result_has_both_models_three_baselines_and_intervals(smoke_demo):
    path = smoke_demo / "evaluation" / "result.json"
    evaluation = from_json(path.read_text(), where=str(path))
    assert [row.name for row in evaluation.rows] == [
        "finetuned",
        "distilled",
        "supervised from scratch",
        "random encoder + linear",
        "colour statistics",
    ]
    assert not evaluation.transductive
    assert all(row.intervals.balanced_accuracy is not None for row in evaluation.rows)


def test_test_patients_are_in_no_lineage(smoke_demo):
    predictions = (smoke_demo / "evaluation" / "predictions.csv").read_text()
    slides = {line.split(",")[0] for line in predictions.splitlines()[1:]}
    store = TileStore(smoke_demo / "tiles.zarr")
    tested = {slide.patient for slide in store.slides if slide.slide_id in slides}
    for run in ("pretrained", "finetuned", "distilled"):
        lineage = json.loads((smoke_demo / run / "lineage.json").read_text())
        assert not tested & {*lineage["patients_labelled"], *lineage["patients_unlabelled"]}


def test_pictures_are_there(smoke_demo):
    pictures = sorted((smoke_demo / "pictures").rglob("*.png"))
    assert [path.name.split("_")[0] for path in pictures] == [
        "heatmap",
        "stain",
        "stain",
        "tiles",
    ]
    for path in pictures:
        with Image.open(path) as image:
            low, high = image.convert("L").getextrema()
        assert high - low > 50, path


def test_second_run_does_nothing_again(smoke_demo):
    lines = []
    config = DemoConfig(out=smoke_demo, smoke=True, workers=0)
    result = demo(config, progress=lambda done, total, line: lines.append(line))
    assert lines.count("already done") == 4
    assert len(result.commands) == 7
