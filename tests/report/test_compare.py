"""`policies compare` on a tiny store: what it measures, and that nothing is run twice."""

import csv
import json
import tomllib
from dataclasses import fields

import pytest

from medsimclr.config.compare import PolicyCompareConfig
from medsimclr.data.split import read_split
from medsimclr.errors import ConfigError, LabelError
from medsimclr.report import comparison_runs
from medsimclr.report.compare import compare_policies
from medsimclr.report.comparison_table import comparison_notes, table_cells
from tests.tiny_store import write_tiny_store

SETTINGS = {
    "policies": ["geometry", "none"],
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


def _no_training(*args, **kwargs):
    raise AssertionError("trained again")


def test_every_row_has_every_figure_and_the_baselines_come_last(compared):
    comparison, out = compared
    assert comparison.rows == ["geometry", "none", "random encoder", "colour statistics"]
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
    assert record["notes"] == comparison_notes(comparison)


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
        compare_policies(configured(store, out, policies=["rand_stain_na"], seeds=1))
    split = read_split(out / "splits" / "0.csv")
    assert seen == [{patient for patient, part in split.items() if part == "train"}]
    fitted = tomllib.loads((out / "fitted" / "rand_stain_na-0.toml").read_text(encoding="utf-8"))
    run = tomllib.loads(
        (out / "runs" / "rand_stain_na-0" / "config.toml").read_text(encoding="utf-8")
    )
    assert run["policy_options"] == fitted["policy_options"]


def test_a_variant_is_a_row_with_settings_of_its_own(store, tmp_path):
    variants = {"light": {"policy": "stain_jitter", "policy_options": {"gain_sigma": 0.01}}}
    config = configured(store, tmp_path / "out", policies=[], variants=variants, seeds=1)
    comparison = compare_policies(config)
    assert comparison.rows[0] == "light"
    assert "One seed settles nothing" in " ".join(comparison_notes(comparison))
    assert all("(" not in cell for cell in table_cells(comparison)[1])


def test_another_store_is_tested_on_apart(store, tmp_path):
    other = write_tiny_store(tmp_path / "other.zarr", n_patients=2, seed=5)
    config = configured(store, tmp_path / "out", unseen_store=other, seeds=1, policies=["none"])
    comparison = compare_policies(config)
    assert comparison.seeds[0]["colour statistics"].unseen == 1


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
        ({"variants": {"geometry": {}}}, "names of their own, got 'geometry' twice"),
        ({"pretrain": {"epochs": 3}}, "pretrain must leave alone .* got 'epochs'"),
        ({"pretrain": {"policy": "none"}}, "pretrain must not set the policy"),
        ({"variants": {"x": {"seed": 3}}}, "x must leave alone .* got 'seed'"),
        ({"unseen_centre": "A", "unseen_store": "b"}, "either --unseen-centre or --unseen-store"),
    ],
)
def test_rows_that_could_not_be_compared_are_refused(tmp_path, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        configured(tmp_path, tmp_path, **changes)


def test_a_store_without_labels_is_refused(tmp_path, monkeypatch):
    store = write_tiny_store(tmp_path / "tiny.zarr", tiles_per_patient=1)
    with pytest.raises(LabelError, match="at least 2 classes"):
        compare_policies(configured(store, tmp_path / "out"))
