"""`policies compare` on a tiny store: what it measures, and that nothing is run twice."""

import csv
import json
import tomllib
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest

from augment_policies import geometry
from medsimclr.config.compare import PolicyCompareConfig
from medsimclr.data.split import draw_fold, read_split
from medsimclr.errors import ConfigError, LabelError
from medsimclr.report import comparison_runs
from medsimclr.report.compare import compare_policies
from medsimclr.report.comparison_cohort import open_cohort
from medsimclr.report.comparison_table import comparison_notes, table_cells
from tests.tiny_store import write_tiny_store

SETTINGS = {
    "policies": ["stain_jitter", "none"],
    "epochs": 1,
    "view_px": 24,
    "batch_size": 16,
    "seeds": 2,
    "folds": 2,
    "pretrain": {
        "workers": 0, "device": "cpu", "precision": "fp32", "health_tiles": 0, "threads": 1,
    },
}  # fmt: skip


def configured(store, out, **changes):
    return PolicyCompareConfig.model_validate({**SETTINGS, "store": store, "out": out, **changes})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    return write_tiny_store(
        folder / "tiny.zarr", n_patients=12, tiles_per_patient=8, centres=("A", "B", "C")
    )


@pytest.fixture(scope="module")
def compared(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "out"
    return compare_policies(configured(store, out, unseen_centre="C")), out


def _fold(cohort, seed):
    return draw_fold(cohort.tiles.patient_N, cohort.tiles.label_N, n_folds=3, seed=seed)


def _no_training(*args, **kwargs):
    raise AssertionError("trained again")


def test_every_row_has_every_figure_and_the_baselines_come_last(compared):
    comparison, out = compared
    assert comparison.rows == ["stain_jitter", "none", "random encoder", "colour statistics"]
    assert comparison.read_from_features == "centre"
    for found in comparison.seeds:
        for figures in found.values():
            for field in fields(figures):
                assert 0 <= getattr(figures, field.name) <= 1, field.name
    header, *rows = csv.reader((out / "comparison.csv").read_text(encoding="utf-8").splitlines())
    assert header == [
        "policy", "kNN", "linear", "linear AUROC", "unseen C", "unseen C AUROC", "centre readable",
    ]  # fmt: skip
    assert [row[0] for row in rows] == comparison.rows
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((out / "comparison.json").read_bytes())
    assert record["rows"]["none"]["seeds"][1] == asdict(comparison.seeds[1]["none"])


def test_colour_statistics_see_the_stripes_of_this_store(compared):
    comparison, _ = compared
    for found in comparison.seeds:
        assert found["colour statistics"].linear == 1
        assert found["colour statistics"].unseen == 1


def test_each_seed_tests_other_patients_and_never_trains_on_the_unseen_centre(compared):
    _, out = compared
    splits = [read_split(out / "splits" / f"{seed}.csv") for seed in (0, 1)]
    unseen = {f"P{i}" for i in range(2, 12, 3)}
    tested = [{p for p, part in split.items() if part == "test"} - unseen for split in splits]
    assert not tested[0] & tested[1]
    assert tested[0] | tested[1] | unseen == splits[0].keys()
    assert all(split[patient] == "test" for split in splits for patient in unseen)


def test_run_again_it_reads_what_is_there(compared, store, monkeypatch):
    comparison, out = compared
    monkeypatch.setattr(comparison_runs, "pretrain", _no_training)
    assert compare_policies(configured(store, out, unseen_centre="C")) == comparison


def test_rows_and_seeds_are_added_to_what_is_there(compared, store, monkeypatch):
    comparison, out = compared
    trained = []
    real = comparison_runs.pretrain

    def noted(run, **kwargs):
        trained.append((run.policy, run.seed))
        real(run, **kwargs)

    monkeypatch.setattr(comparison_runs, "pretrain", noted)
    more = configured(store, out, unseen_centre="C", policies=["none", "fluorescence"])
    found = compare_policies(more)
    assert trained == [("fluorescence", 0), ("fluorescence", 1)]
    assert [seed["none"] for seed in found.seeds] == [seed["none"] for seed in comparison.seeds]


def test_figures_of_another_budget_are_not_mixed_in(compared, store, monkeypatch):
    _, out = compared
    monkeypatch.setattr(comparison_runs, "pretrain", _no_training)
    with pytest.raises(ConfigError, match=r"of another comparison \(epochs: 1 -> 2\).*--out"):
        compare_policies(configured(store, out, unseen_centre="C", epochs=2))


def test_a_killed_comparison_goes_on_with_the_same_figures(compared, store, tmp_path, monkeypatch):
    comparison, _ = compared
    real = comparison_runs.pretrain
    calls = []

    def killed(run, **kwargs):
        calls.append(run)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(run, **kwargs)

    config = configured(store, tmp_path / "out", unseen_centre="C", seeds=1)
    monkeypatch.setattr(comparison_runs, "pretrain", killed)
    with pytest.raises(KeyboardInterrupt):
        compare_policies(config)
    assert compare_policies(config).seeds == comparison.seeds[:1]


def test_a_policy_that_can_be_fitted_is_fitted_to_the_training_patients(store, tmp_path):
    out = tmp_path / "out"
    seen = []
    real = comparison_runs.fit_policy

    def noted(spec, tiles, *, slide_indices, **kwargs):
        seen.append({tiles.slides[i].patient for i in slide_indices})
        return real(spec, tiles, slide_indices=slide_indices, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison_runs, "fit_policy", noted)
        variant = {"policy": "rand_stain_na", "policy_options": {"spaces": ["lab"]}}
        variants = {"lab": variant}
        compare_policies(configured(store, out, policies=[], variants=variants, seeds=1))
    split = read_split(out / "splits" / "0.csv")
    trained = {patient for patient, part in split.items() if part == "train"}
    assert seen == [trained]
    run = tomllib.loads((out / "runs" / "lab-0" / "config.toml").read_text(encoding="utf-8"))
    assert set(run["policy_fitted_on"]) == trained
    assert run["policy_options"]["spaces"] == ["lab"]
    assert "statistics" in run["policy_options"]


def test_a_variant_is_a_row_with_settings_of_its_own(store, tmp_path):
    variants = {"light": {"policy": "stain_jitter", "policy_options": {"gain_sigma": 0.01}}}
    config = configured(store, tmp_path / "out", policies=[], variants=variants, seeds=1)
    comparison = compare_policies(config)
    assert comparison.rows[0] == "light"
    assert "One seed settles nothing" in " ".join(comparison_notes(comparison))
    assert all("(" not in cell for cell in table_cells(comparison)[1])


def test_another_store_is_tested_on_apart(store, tmp_path):
    other = write_tiny_store(tmp_path / "other.zarr", n_patients=2, seed=5, prefix="Q")
    config = configured(store, tmp_path / "out", unseen_store=other, seeds=1, policies=["none"])
    comparison = compare_policies(config)
    assert comparison.seeds[0]["colour statistics"].unseen == 1


def test_a_store_of_the_same_patients_is_not_unseen(store, tmp_path):
    other = write_tiny_store(tmp_path / "other.zarr", n_patients=2, seed=5)
    with pytest.raises(ConfigError, match=r"--unseen-store must hold patients .* got 'P0' in both"):
        compare_policies(configured(store, tmp_path / "out", unseen_store=other))


def test_other_test_patients_are_refused_and_the_old_split_stays(compared, store, monkeypatch):
    _, out = compared
    before = (out / "splits" / "0.csv").read_bytes()
    monkeypatch.setattr(comparison_runs, "pretrain", _no_training)
    with pytest.raises(ConfigError, match="holds a comparison with other test patients"):
        compare_policies(configured(store, out, unseen_centre="C", folds=4))
    assert (out / "splits" / "0.csv").read_bytes() == before


def test_an_edited_policy_is_not_given_the_figures_of_before(store, tmp_path, monkeypatch):
    policy = tmp_path / "my_lab.py"
    text = (Path(geometry.__file__)).read_text(encoding="utf-8")
    policy.write_text(text, encoding="utf-8")
    spec = f"{policy}:GeometryPolicy"
    config = configured(store, tmp_path / "out", policies=[spec], seeds=1)
    compare_policies(config)
    policy.write_text(text.replace("symmetry_p: float = 1.0", "symmetry_p: float = 0.5"))
    monkeypatch.setattr(comparison_runs, "pretrain", _no_training)
    with pytest.raises(ConfigError, match=r"of another comparison \(policy: "):
        compare_policies(config)


def test_a_place_that_holds_something_else_is_refused_and_left_as_it_is(store, tmp_path):
    (tmp_path / "config.toml").write_text("of a run")
    with pytest.raises(ConfigError, match=r"an earlier comparison, got 'config\.toml'"):
        compare_policies(configured(store, tmp_path))
    assert [path.name for path in tmp_path.iterdir() if path.name[0] != "."] == ["config.toml"]
    assert (tmp_path / "config.toml").read_text() == "of a run"


def test_every_fold_has_patients_of_every_centre(tmp_path):
    """Two patients of each centre and two folds: one of each is tested."""
    store = write_tiny_store(tmp_path / "tiny.zarr", n_patients=6, centres=("A", "B", "C"))
    cohort = open_cohort(configured(store, tmp_path / "out"))
    for seed in range(6):
        split = cohort.split(n_folds=2, seed=seed)
        tested_N = np.isin(cohort.tiles.patient_N, [p for p in split if split[p] == "test"])
        centres = np.unique(
            np.stack([cohort.centre_N, cohort.tiles.patient_N])[:, tested_N], axis=1
        )
        assert centres[0].tolist() == ["A", "B", "C"]


def test_centres_of_few_patients_are_not_read(tmp_path):
    store = write_tiny_store(tmp_path / "tiny.zarr", n_patients=7, centres=("A", "B"))
    cohort = open_cohort(configured(store, tmp_path / "out"))
    assert cohort.read_from_features == "patient"


def test_slides_without_a_centre_are_no_centre(tmp_path):
    folder = tmp_path / "tiny.zarr"
    store = write_tiny_store(folder, n_patients=12, tiles_per_patient=8, centres=("A", "B", None))
    comparison = compare_policies(configured(store, tmp_path / "out", seeds=1, policies=["none"]))
    assert comparison.read_from_features == "centre"
    assert comparison.seeds[0]["none"].readable_chance == 0.5


def test_a_part_that_lacks_a_class_is_found_before_anything_is_trained(tmp_path, monkeypatch):
    """Two patients of class 1 and three folds: one seed's test patients have class 0 alone."""

    def of_one_class(n_tiles, tile_px, seed):
        return np.full((n_tiles, tile_px, tile_px, 3), 200, np.uint8)

    store = write_tiny_store(tmp_path / "tiny.zarr", images_of=of_one_class)
    monkeypatch.setattr(comparison_runs, "pretrain", _no_training)
    cohort = open_cohort(configured(store, tmp_path / "out"))
    label_N = np.where(np.isin(cohort.tiles.patient_N, ["P0", "P1"]), 1, 0)
    cohort = replace(cohort, tiles=replace(cohort.tiles, label_N=label_N))
    lacking = next(
        seed
        for seed in range(3)
        if not {"P0", "P1"} & {p for p, part in _fold(cohort, seed).items() if part == "test"}
    )
    with pytest.raises(
        LabelError, match=r"the test tiles of seed \d must have labels of at least 2"
    ):
        cohort.split(n_folds=3, seed=lacking)


def test_patients_are_read_where_centres_are_unknown(tmp_path):
    store = write_tiny_store(
        tmp_path / "tiny.zarr", n_patients=4, tiles_per_patient=16, centres=(None,)
    )
    config = configured(store, tmp_path / "out", seeds=1, policies=["none"])
    comparison = compare_policies(config)
    assert comparison.read_from_features == "patient"
    assert table_cells(comparison)[0][-1] == "patient readable"


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"unseen_centre": "D"}, ConfigError, r"--unseen-centre .* got 'D'; it has A, B, C"),
        ({"policies": []}, ConfigError, "needs a policy or more to compare, got none"),
        ({"pretrain": {"depht": 18}}, ConfigError, "depht"),
        ({"variants": {"x": {"policy": "simclr", "depth": 19}}}, ConfigError, "depth"),
        (
            {"variants": {"random encoder": {"policy": "none"}}},
            ConfigError,
            "names of their own, got 'random encoder' beside 'random encoder'",
        ),
        (
            {"variants": {"a b": {"policy": "none"}, "a_b": {"policy": "none"}}},
            ConfigError,
            "got 'a_b' beside 'a b'",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(
    store, tmp_path, changes, error, sentence
):
    with pytest.raises(error, match=sentence):
        compare_policies(configured(store, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"variants": {"none": {}}}, "names of their own, got 'none' twice"),
        ({"pretrain": {"epochs": 3}}, "pretrain must leave alone .* got 'epochs'"),
        ({"pretrain": {"policy": "none"}}, "pretrain must not set the policy"),
        ({"variants": {"x": {"seed": 3}}}, "x must leave alone .* got 'seed'"),
        ({"unseen_centre": "A", "unseen_store": "b"}, "either --unseen-centre or --unseen-store"),
    ],
)
def test_rows_that_could_not_be_compared_are_refused(tmp_path, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        configured(tmp_path, tmp_path, **changes)


def test_a_store_of_one_class_is_refused(tmp_path):
    store = write_tiny_store(tmp_path / "tiny.zarr", tiles_per_patient=1)
    with pytest.raises(LabelError, match="at least 2 classes"):
        compare_policies(configured(store, tmp_path / "out"))
