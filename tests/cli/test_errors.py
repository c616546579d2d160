"""Wrong input gets one sentence and the documented exit code; nothing is half written."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from medsimclr.cli.main import app
from tests.cli.command import assert_refused, medsimclr
from tests.tiny_store import write_tiny_store


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A store, and runs of every kind, a step or two long."""
    place = tmp_path_factory.mktemp("cli")
    write_tiny_store(place / "tiny.zarr")
    small = ["--batch-size", "8", "--epochs", "1", "--workers", "0", "--device", "cpu"]
    for words in (
        ["pretrain", "tiny.zarr", "--out", "pre", "--view-px", "36", "--policy", "simclr"],
        ["finetune", "pre", "--store", "tiny.zarr", "--out", "fine", "--labels", "8"],
        ["distill", "fine", "--store", "tiny.zarr", "--out", "student"],
    ):
        result = medsimclr(*words, *small, cwd=place)
        assert result.returncode == 0, result.stderr
    return place


def test_no_slides_found(tmp_path):
    (tmp_path / "empty").mkdir()
    result = medsimclr("tile", "empty", "--out", "s.zarr", "--mpp", 0.5, cwd=tmp_path)
    assert_refused(result, 4, "empty", ".svs")
    assert not (tmp_path / "s.zarr").exists()


def test_missing_input(tmp_path):
    result = medsimclr("tile", "nowhere", "--out", "s.zarr", "--mpp", 0.5, cwd=tmp_path)
    assert_refused(result, 4, "'nowhere' must be a file or folder, got nothing there")


def test_file_that_is_no_slide(tmp_path):
    (tmp_path / "x.svs").write_bytes(b"this is no slide")
    result = medsimclr("tile", "x.svs", "--out", "s.zarr", "--mpp", 0.5, cwd=tmp_path)
    assert_refused(result, 4, "none of 1 slides could be tiled", "'x.svs' is no slide")
    assert not any((tmp_path / "s.zarr").iterdir()), "an empty store would pin its settings"


def test_missing_mpp(tmp_path):
    (tmp_path / "x.svs").write_bytes(b"this is no slide")
    result = medsimclr("tile", "x.svs", "--out", "s.zarr", cwd=tmp_path)
    assert_refused(result, 2, "--mpp must say at which scale slides are cut")


def test_labels_csv_with_a_missing_column(tmp_path):
    (tmp_path / "labels.csv").write_text("picture,label\na.png,x\n")
    result = medsimclr("tile", tmp_path, "--out", "s.zarr", cwd=tmp_path)
    assert_refused(result, 2, "must have the column 'image', got the columns 'picture', 'label'")


def test_labels_csv_with_an_unknown_image(tmp_path):
    (tmp_path / "labels.csv").write_text("image,label\na.png,x\n")
    result = medsimclr("tile", tmp_path, "--out", "s.zarr", cwd=tmp_path)
    assert_refused(result, 2, "labels.csv', line 2: image 'a.png' must be a file beside the table")


def test_label_table_with_an_unknown_slide(place):
    (place / "labels.csv").write_text("slide,label\nslide_0,tumor\nslide_99,normal\n")
    result = medsimclr(
        *"finetune pre --store tiny.zarr --out x --label-table labels.csv".split(),
        cwd=place,
    )
    assert_refused(result, 2, "'labels.csv', line 3: unknown slide 'slide_99'; known: slide_0")
    assert not (place / "x").exists()


def test_label_table_with_a_missing_column(place):
    (place / "labels.csv").write_text("slide,diagnosis\nslide_0,tumor\n")
    result = medsimclr(
        *"finetune pre --store tiny.zarr --out x --label-table labels.csv".split(),
        cwd=place,
    )
    assert_refused(result, 2, "must have the column 'label'")


def test_patient_in_two_splits(place):
    (place / "split.csv").write_text("patient,split\nP0,train\nP1,test\nP0,test\n")
    result = medsimclr("pretrain", "tiny.zarr", "--out", "x", "--split", "split.csv", cwd=place)
    assert_refused(result, 2, "line 4: patient 'P0' is in both train and test")


def test_split_that_forgets_a_patient(place):
    (place / "mine.csv").write_text("patient,split\nP0,train\nP1,test\n")
    result = medsimclr("pretrain", "tiny.zarr", "--out", "x", "--split", "mine.csv", cwd=place)
    assert_refused(result, 2, "split 'mine.csv' must name every patient of the store", "'P2'")


def test_split_that_names_patients_of_other_stores_too(place, monkeypatch):
    monkeypatch.chdir(place)
    parts = "".join(f"P{i},{'test' if i > 3 else 'train'}\n" for i in range(9))
    (place / "more.csv").write_text(f"patient,split\n{parts}")
    note = (
        "note on split 'more.csv': 3 of its 9 patients are not in the store ('P6', 'P7', 'P8').\n"
    )
    words = "pretrain tiny.zarr --out x --split more.csv --batch-size 8 --view-px 32 --dry-run"
    assert note in CliRunner().invoke(app, [*words.split(), "--workers", "0"]).stdout
    words = "evaluate pre --store tiny.zarr --out x --split more.csv"
    assert CliRunner().invoke(app, words.split()).stderr.startswith(note)


def test_split_that_leaves_nothing_to_train_or_test_on(place, monkeypatch):
    monkeypatch.chdir(place)
    parts = "".join(f"P{i},test\n" for i in range(6))
    (place / "tests.csv").write_text(f"patient,split\n{parts}Q1,train\n")
    result = CliRunner().invoke(app, "pretrain tiny.zarr --out x --split tests.csv".split())
    assert result.exit_code == 2
    assert "must leave the train part a patient of the store, got none of 6" in result.stderr
    (place / "trains.csv").write_text(f"patient,split\n{parts.replace('test', 'train')}")
    words = "evaluate fine --store tiny.zarr --out x --split trains.csv"
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 2
    assert "must leave the test part a patient of the store, got none of 6" in result.stderr


def test_testing_on_a_patient_trained_on(place):
    split = "patient,split\n" + "".join(f"P{i},test\n" for i in range(6))
    (place / "all_test.csv").write_text(split)
    result = medsimclr(
        *"evaluate fine --store tiny.zarr --out eval --split all_test.csv".split(),
        cwd=place,
    )
    assert_refused(result, 2, "was trained on with labels in run 'fine'")


def test_unknown_policy_lists_the_installed_ones(place):
    result = medsimclr("pretrain", "tiny.zarr", "--out", "x", "--policy", "stain_jiter", cwd=place)
    assert_refused(result, 2, "unknown augmentation policy 'stain_jiter'", "simclr, stain_jitter")


def test_unknown_configuration_key_lists_the_known_ones(place):
    result = medsimclr("pretrain", "tiny.zarr", "--out", "x", "--set", "tempature=1", cwd=place)
    assert_refused(
        result, 2, "unknown configuration key 'tempature' in --set", "did you mean 'temperature'?"
    )
    (place / "run.toml").write_text("batchsize = 4\n")
    result = medsimclr("pretrain", "tiny.zarr", "--out", "x", "--config", "run.toml", cwd=place)
    assert_refused(result, 2, "unknown configuration key 'batchsize' in run.toml", "batch_size")


def test_output_of_another_configuration(place):
    result = medsimclr(
        *[
            "pretrain",
            "tiny.zarr",
            "--out",
            "pre",
            "--view-px",
            "36",
            "--policy",
            "simclr",
            "--batch-size",
            "8",
        ],
        *"--epochs 2 --workers 0 --device cpu".split(),
        cwd=place,
    )
    assert_refused(result, 2, "run 'pre' belongs to another configuration (epochs: 1 -> 2)")


def test_result_of_another_configuration(place):
    words = "evaluate student --store tiny.zarr --no-baselines --workers 0 --out kept".split()
    assert medsimclr(*words, cwd=place).returncode == 0
    result = medsimclr(*words, "--seed", 1, cwd=place)
    assert_refused(result, 2, "result 'kept' belongs to another configuration", "'seed': 1")


def test_store_of_another_configuration(place):
    (place / "images").mkdir()
    Image.new("RGB", (64, 64), (200, 100, 150)).save(place / "images" / "a.png")
    (place / "images" / "labels.csv").write_text("image,label\na.png,x\n")
    assert (
        medsimclr("tile", "images", "--out", "i.zarr", "--tile-px", 32, cwd=place).returncode == 0
    )
    result = medsimclr("tile", "images", "--out", "i.zarr", "--tile-px", 16, cwd=place)
    changes = "stride_px: 32 -> 16; tile_px: 32 -> 16"
    assert_refused(result, 2, f"belongs to another tiling configuration ({changes})")


def test_demo_of_another_size(place):
    (place / "demo").mkdir()
    (place / "demo" / "demo.json").write_text('{"smoke": true, "seed": 0}')
    result = medsimclr("demo", "--out", "demo", cwd=place)
    assert_refused(result, 2, "holds another demo (smoke: True -> False)")


def test_run_of_another_kind(place):
    result = medsimclr(*"evaluate pre --store tiny.zarr --out eval".split(), cwd=place)
    assert_refused(result, 2, "run 'pre' must hold a classifier, got a simclr")


def test_folder_that_is_no_run(place):
    result = medsimclr(*"finetune tiny.zarr --store tiny.zarr --out x".split(), cwd=place)
    assert_refused(result, 4, "'tiny.zarr' must be a run directory")


def test_folder_that_is_no_store(place):
    result = medsimclr(*"pretrain pre --out x".split(), cwd=place)
    assert_refused(result, 4, "'pre' must be a tile store")


def test_damaged_store_is_an_integrity_failure(place, tmp_path):
    shutil.copytree(place / "tiny.zarr", tmp_path / "tiny.zarr")
    (tmp_path / "tiny.zarr" / "slide_3" / "images" / "c/0/0/0/0").unlink()
    words = "pretrain tiny.zarr --out x --view-px 36 --batch-size 8 --epochs 2 --workers 0"
    result = medsimclr(*words.split(), "--set", "test_fraction=0", cwd=tmp_path)
    assert_refused(result, 7, "slide_3", "No such file")


def test_evaluate_prints_intervals_and_baselines(place):
    result = medsimclr(
        *[
            "evaluate",
            "fine",
            "student",
            "--store",
            "tiny.zarr",
            "--out",
            "result",
            "--workers",
            "0",
        ],
        cwd=place,
    )
    assert result.returncode == 0, result.stderr
    for name in ("fine", "student", "colour statistics", "random encoder", "from scratch"):
        assert name in result.stdout
    for name in ("result.json", "evaluation.png", "predictions.csv"):
        assert (place / "result" / name).stat().st_size > 0


def test_heatmap_writes_a_picture(place):
    words = "heatmap fine --store tiny.zarr --slide slide_0 --out map.png"
    result = medsimclr(*words.split(), cwd=place)
    assert result.returncode == 0, result.stderr
    assert (place / "map.png").stat().st_size > 5000
    result = medsimclr(*words.replace("slide_0", "slide_x").split(), cwd=place)
    assert_refused(result, 2, "unknown slide 'slide_x'; the store has slide_0")


def test_help_imports_neither_torch_nor_monai_nor_albumentations():
    code = (
        "import sys\n"
        "from medsimclr.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'monai', 'albumentations', 'sklearn', 'matplotlib', 'zarr', 'cv2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
