"""No command takes a file for the folder that it is to write."""

import signal

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medsimclr.cli.main import app
from medsimclr.training.stop import SIGNALS
from tests.tiny_store import write_tiny_store

_SMALL = "--batch-size 8 --workers 0 --device cpu --epochs 1"
_PRETRAIN = f"pretrain tiny.zarr {_SMALL} --view-px 32 --policy simclr"
_FINETUNE = f"finetune pre --store tiny.zarr --labels 8 {_SMALL}"
_TILE = "tile image.png --mpp 0.5 --source-mpp 0.5 --tile-px 64"


def said(words):
    """Run a command within this process; return its exit code and its stderr."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    result = CliRunner().invoke(app, words.split())
    for number, handler in before.items():
        signal.signal(number, handler)
    return result.exit_code, result.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("places")
    write_tiny_store(place / "tiny.zarr")
    Image.fromarray(np.full((300, 300, 3), 180, np.uint8)).save(place / "image.png")
    (place / "taken").write_text("a file")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for words in (f"{_PRETRAIN} --out pre", f"{_FINETUNE} --out fine"):
            code, errors = said(words)
            assert code == 0, errors
    return place


@pytest.mark.parametrize("out", ["taken", "taken/below"])
@pytest.mark.parametrize(
    "words",
    [
        _TILE,
        f"{_TILE} --dry-run",
        f"{_TILE} --overwrite",
        _PRETRAIN,
        f"{_PRETRAIN} --dry-run",
        f"{_PRETRAIN} --find-temperature",
        _FINETUNE,
        f"distill fine --store tiny.zarr {_SMALL}",
        "evaluate fine --store tiny.zarr --workers 0 --no-baselines",
        "policies show --store tiny.zarr",
        "demo --smoke",
    ],
)
def test_an_output_that_is_or_lies_below_a_file_is_refused(place, monkeypatch, words, out):
    monkeypatch.chdir(place)
    code, errors = said(f"{words} --out {out}")
    assert code == 2, errors
    assert "--out needs a folder at 'taken" in errors
    assert errors.endswith("got the file 'taken'; choose another --out.\n")
    assert (place / "taken").read_text() == "a file"


def test_pictures_of_tiles_that_cannot_be_written_are_refused_before_tiling(place, monkeypatch):
    monkeypatch.chdir(place)
    code, errors = said(f"{_TILE} --out new.zarr --preview taken")
    assert (code, "--preview needs a folder at 'taken'" in errors) == (2, True)
    assert not (place / "new.zarr").exists()


def test_a_heat_map_needs_a_folder_above_it_and_the_name_of_a_file(place, monkeypatch):
    monkeypatch.chdir(place)
    words = "heatmap fine --store tiny.zarr --slide slide_0 --out"
    code, errors = said(f"{words} taken/map.png")
    assert (code, "--out needs a folder at 'taken'" in errors) == (2, True)
    code, errors = said(f"{words} fine")
    assert (code, "--out must name the file to write, got the folder 'fine'" in errors) == (
        2,
        True,
    )
