"""`medsimclr policies` and its sub-commands, by exit code and output."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medsimclr.augment import discovery
from medsimclr.augment.discovery import load_policy
from medsimclr.cli.main import app
from medsimclr.config.base import load_toml
from medsimclr.errors import PolicyError
from tests.policy_file import write_policy
from tests.tiny_store import write_tiny_store
from tests.tissue_images import tissue_images


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("policies")
    write_tiny_store(place / "tiny.zarr", n_patients=4, images_of=tissue_images)
    (place / "split.csv").write_text("patient,split\nP0,train\nP1,train\nP2,train\nP3,test\n")
    return place


@pytest.fixture(autouse=True)
def _in_place(place, monkeypatch):
    monkeypatch.chdir(place)


def said(words):
    """Run `medsimclr policies ...`; return its exit code, stdout and stderr."""
    result = CliRunner().invoke(app, ["policies", *words.split()])
    return result.exit_code, result.stdout, result.stderr


def test_without_a_command_the_policies_are_listed():
    code, listed, _ = said("")
    assert code == 0
    assert listed == said("list")[1]
    assert {"simclr", "stain_jitter"} < {line.split()[0] for line in listed.splitlines()}
    assert said("--json")[1] == said("list --json")[1]
    assert "simclr" in json.loads(said("--json")[1])


def test_a_broken_package_does_not_hide_the_others(monkeypatch):
    load = discovery.load_policy

    def load_all_but_one(name, **settings):
        if name == "simclr":
            raise PolicyError("it cannot be imported.")
        return load(name, **settings)

    monkeypatch.setattr(discovery, "load_policy", load_all_but_one)
    listed = json.loads(said("list --json")[1])
    assert listed["simclr"] == "cannot be used: it cannot be imported."
    assert "stain_jitter" in listed


def test_json_before_the_command_is_refused_and_not_forgotten():
    code, out, errors = said("--json check simclr")
    assert (code, out) == (2, "")
    assert errors == ("medsimclr: --json belongs after the command, as in policies check --json.\n")


def test_a_good_policy_keeps_the_contract():
    assert said("check geometry") == (0, "geometry keeps the contract\n", "")
    assert json.loads(said("check none --json")[1]) == {"policy": "none", "problems": []}


def test_every_problem_of_a_bad_policy_is_said(tmp_path):
    spec = write_policy(tmp_path, fit="return {}", wrong=" + random.choice([1, 1])")

    code, out, errors = said(f"check {spec}")

    assert code == 2
    first, second = out.splitlines()
    assert first.startswith(f"{spec}: contrastive(40): a view must have the shape (40, 40, 3)")
    assert second.startswith(f"{spec}: it uses the global generator of random;")
    assert errors == (
        f"medsimclr: augmentation policy {spec!r} breaks the contract in 2 points; mend what is "
        "listed.\n"
    )
    code, out, _ = said(f"check {spec} --json")
    assert (code, len(json.loads(out)["problems"])) == (2, 2)


def test_fitted_statistics_are_what_pretraining_takes(place):
    code, out, errors = said("fit stain_mix --store tiny.zarr --out new/s.toml --split split.csv")
    assert (code, errors) == (0, "")
    assert out.splitlines() == [
        "stain_mix fitted to 36 tiles of 3 slides: training patients of split.csv.",
        "new/s.toml",
        "Next: medsimclr pretrain tiny.zarr --config new/s.toml --out RUN --split split.csv",
    ]
    words = "pretrain tiny.zarr --config new/s.toml --out RUN --split split.csv --dry-run"
    small = "--batch-size 8 --workers 0 --device cpu --epochs 1 --view-px 32"
    dry = CliRunner().invoke(app, f"{words} {small}".split())
    assert (dry.exit_code, dry.stderr) == (0, "")
    fitted = load_toml(place / "new" / "s.toml")
    assert len(load_policy(fitted["policy"], options=fitted["policy_options"]).statistics) == 3
    assert fitted["policy_fitted_on"] == ["P0", "P1", "P2"]


def test_without_a_split_the_leak_is_said_and_stands_in_the_file(place):
    code, out, _ = said("fit rand_stain_na --store tiny.zarr --out all.toml")
    assert code == 0
    leak = "all patients, since no --split was given; statistics of test patients leak into"
    assert leak in out
    assert (place / "all.toml").read_text().startswith("# rand_stain_na fitted to 48 tiles of 4 sl")
    assert leak in (place / "all.toml").read_text().splitlines()[0]
    result = json.loads(said("fit rand_stain_na --store tiny.zarr --out all.toml --json")[1])
    assert (result["split"], result["n_slides"], result["n_tiles"]) == (None, 4, 48)
    assert result["next"].endswith(" --test-fraction 0")


def test_the_same_seed_writes_the_same_file_and_another_another(place):
    words = "fit stain_mix --store tiny.zarr --out seeded.toml --set tiles=4"
    texts = []
    for options in ("--seed 0", "--seed 0", "--seed 1 --overwrite"):
        assert said(f"{words} {options}")[0] == 0
        texts.append((place / "seeded.toml").read_text())
    assert texts[0] == texts[1] != texts[2]


def test_another_file_is_replaced_only_where_that_is_asked(place):
    (place / "mine.toml").write_text("epochs = 3\n")
    code, out, errors = said("fit stain_mix --store tiny.zarr --out mine.toml")
    assert (code, out) == (2, "")
    assert errors == (
        "medsimclr: --out 'mine.toml' must be new or hold what is to be written, got something "
        "else in it; add --overwrite or choose another --out.\n"
    )
    assert (place / "mine.toml").read_text() == "epochs = 3\n"


def test_a_fit_that_fails_leaves_the_earlier_file(place, tmp_path):
    (place / "kept.toml").write_text("policy = 'simclr'\n")
    spec = write_policy(tmp_path, fit="raise ValueError('no slide has tissue')")
    code, out, errors = said(f"fit {spec} --store tiny.zarr --out kept.toml")
    assert (code, out) == (2, "")
    assert errors.startswith(f"medsimclr: augmentation policy {spec!r} cannot be fitted to 4 slid")
    assert "ValueError: no slide has tissue." in errors
    assert (place / "kept.toml").read_text() == "policy = 'simclr'\n"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("fit simclr --store tiny.zarr --out a.toml", 2, "'simclr' has nothing to fit"),
        ("fit stain_mix --store none.zarr --out a.toml", 4, "'none.zarr' must be a tile store"),
        ("fit stain_mix --store tiny.zarr --out tiny.zarr", 2, "--out must name the file to write"),
        ("fit stain_mix --store tiny.zarr --out split.csv/a", 2, "got the file 'split.csv'"),
        ("fit stain_mix --store tiny.zarr", 2, "--out"),
        ("suggest --store tiny.zarr --out sheets.png/a.png --split none.csv", 2, "none.csv"),
        ("suggest --store tiny.zarr --out tiny.zarr", 2, "--out must name the file to write"),
        ("suggest --store one_slide.zarr", 4, "'one_slide.zarr' must be a tile store"),
        ("suggest", 2, "--store"),
        ("check", 2, "POLICY"),
        ("check simcrl", 2, "unknown augmentation policy 'simcrl'"),
        ("show simcrl --store tiny.zarr", 2, "unknown augmentation policy 'simcrl'"),
        ("show simclr", 2, "--store"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(place, words, code, sentence):
    found, out, errors = said(words)
    assert (found, out) == (code, "")
    assert sentence in errors
    assert not (place / "a.toml").exists()


def test_a_picture_is_drawn_and_holds_the_sweep(place):
    code, out, errors = said("show simclr --store tiny.zarr --out sheets --view-px 32")
    assert (code, errors) == (0, "")
    sheet, reach, lost = out.splitlines()
    assert sheet == "simclr: sheets/simclr.png"
    assert lost.startswith("note: simclr: ")
    assert "views have no tissue" in lost
    assert reach.startswith("  sheets/simclr_reach.png: its views cover ")
    assert reach.split(" of the other ")[1].startswith("patients' tiles, the tiles themselves ")
    with Image.open(place / "sheets" / "simclr.png") as image:
        sheet_HW3 = np.asarray(image)
    # Tall enough for 6 rows of views and 3 of the sweep.
    assert sheet_HW3.shape[0] > 9 * 32 + 2 * 28


def test_a_policy_without_scaled_says_that_its_sweep_is_not_drawn(tmp_path):
    spec = write_policy(tmp_path, fit="return {}")
    code, out, _ = said(f"show {spec} --store tiny.zarr --out sheets --view-px 32")
    assert (code, out.splitlines()[0]) == (
        0,
        f"{spec}: sheets/mine.png (no sweep of the strength: it has no scaled(strength))",
    )


def test_without_two_slides_the_views_are_shown_and_the_stains_noted(place):
    write_tiny_store(place / "one.zarr", n_patients=1, images_of=tissue_images)
    code, out, _ = said("show stain_jitter --store one.zarr --out one --view-px 32")
    assert code == 0
    sheet, note = out.splitlines()
    assert sheet == "stain_jitter: one/stain_jitter.png"
    assert note.startswith("note: stains are not compared: store 'one.zarr' must hold at least 2 s")
    shown = json.loads(said("show none --store one.zarr --out one --view-px 32 --json")[1])["none"]
    assert (shown["sheet"], shown["reach"], shown["covered"]) == ("one/none.png", None, None)


def test_strengths_are_suggested_with_tables_a_picture_and_commands(place):
    words = "suggest --store tiny.zarr --out why/picture.png --set view_px=36 --set views=2"
    code, out, errors = said(words)
    assert (code, errors) == (0, "")
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["patient", "slides", "tiles", "H"]
    assert [line.split()[0] for line in lines[1:5]] == ["P0", "P1", "P2", "P3"]
    assert "why/picture.png" in lines
    assert sum(line.startswith(("Next: medsimclr ", "  or: medsimclr ")) for line in lines) == 3
    with Image.open(place / "why" / "picture.png") as image:
        assert min(image.size) > 600
    result = json.loads(said(f"{words} --json")[1])
    assert (result["kind"], len(result["groups"]), len(result["next"])) == ("patient", 4, 3)
    assert result["suggested"]["gain_sigma"] >= result["default"]["gain_sigma"] == 0.2
    assert any("test patients were looked at" in note for note in result["notes"])
