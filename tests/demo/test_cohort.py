import csv
import hashlib
import json

import numpy as np
import openslide
import pytest
from shapely.geometry import Point, shape
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medsimclr.demo.cohort import write_cohort
from medsimclr.errors import ConfigError, OutputError

SIDE_PX = 1024
TILE_PX = 128
SMALL = {"n_slides": 2, "side_px": 512, "n_patients": 2}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(
        tmp_path_factory.mktemp("cohort"), n_slides=6, side_px=SIDE_PX, n_patients=6, seed=0
    )


def read_rows(cohort):
    with cohort.slides_csv.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_regions(cohort, slide):
    """Polygons of each kind."""
    text = (cohort.annotations_dir / f"{slide}.geojson").read_text(encoding="utf-8")
    regions = {"tumor": [], "normal": []}
    for feature in json.loads(text)["features"]:
        name = feature["properties"]["classification"]["name"]
        regions[name].append(shape(feature["geometry"]))
    return regions


def read_pixels(cohort, slide):
    with openslide.OpenSlide(cohort.slides_dir / f"{slide}.tif") as opened:
        return np.asarray(opened.read_region((0, 0), 0, opened.dimensions).convert("RGB"))


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        write_cohort(tmp_path / name, seed=seed, **SMALL)
    one, two, other = (digests(tmp_path / name) for name in ("one", "two", "other"))
    assert len(one) == 5
    assert one == two
    assert one["slides/demo_000.tif"] != other["slides/demo_000.tif"]


def test_openslide_reads_spacing_and_pyramid(cohort):
    for row in read_rows(cohort):
        path = cohort.slides_dir / f"{row['slide']}.tif"
        with openslide.OpenSlide(path) as slide:
            assert slide.properties["openslide.vendor"] == "generic-tiff"
            assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
            assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.5)
            assert slide.level_dimensions == ((1024, 1024), (256, 256), (64, 64))
            assert slide.properties["openslide.level[0].tile-width"] == "256"


def test_slide_table_names_every_slide_and_both_centres(cohort):
    rows = read_rows(cohort)
    assert list(rows[0]) == ["slide", "patient", "centre"]
    assert {row["slide"] for row in rows} == {path.stem for path in cohort.slides_dir.iterdir()}
    assert {row["slide"] for row in rows} == {
        path.stem for path in cohort.annotations_dir.iterdir()
    }
    assert {row["centre"] for row in rows} == {"A", "B"}


def test_a_patient_has_one_centre_and_an_even_share_of_slides(tmp_path):
    cohort = write_cohort(tmp_path, n_slides=5, side_px=512, n_patients=2, seed=0)
    pairs = [(row["patient"], row["centre"]) for row in read_rows(cohort)]
    assert pairs == [("patient_00", "A")] * 3 + [("patient_01", "B")] * 2


def test_every_slide_holds_both_kinds(cohort):
    for row in read_rows(cohort):
        regions = read_regions(cohort, row["slide"])
        area = {name: sum(part.area for part in parts) for name, parts in regions.items()}
        assert 0.25 < area["tumor"] / (area["tumor"] + area["normal"]) < 0.7


def test_annotations_are_valid_disjoint_and_cover_the_tissue(cohort):
    for row in read_rows(cohort):
        regions = read_regions(cohort, row["slide"])
        parts = regions["tumor"] + regions["normal"]
        assert all(part.is_valid for part in parts)
        kinds = {name: sum(part.area for part in found) for name, found in regions.items()}
        shared = sum(
            one.intersection(two).area for one in regions["tumor"] for two in regions["normal"]
        )
        assert shared < 0.01 * min(kinds.values())
        rgb_HW3 = read_pixels(cohort, row["slide"])
        stained = np.argwhere(rgb_HW3.min(axis=2) < 190)[::997, ::-1]
        covered = [any(part.distance(Point(xy)) < 4 for part in parts) for xy in stained]
        assert all(covered)


def test_mean_colour_of_a_tile_hardly_tells_its_kind(cohort):
    features, kinds, patients = [], [], []
    for row in read_rows(cohort):
        regions = read_regions(cohort, row["slide"])
        rgb_HW3 = read_pixels(cohort, row["slide"])
        for y in range(0, SIDE_PX, TILE_PX):
            for x in range(0, SIDE_PX, TILE_PX):
                centre = Point(x + TILE_PX / 2, y + TILE_PX / 2).buffer(TILE_PX / 3)
                for kind, name in enumerate(("normal", "tumor")):
                    if any(part.contains(centre) for part in regions[name]):
                        tile_HW3 = rgb_HW3[y : y + TILE_PX, x : x + TILE_PX]
                        features.append(tile_HW3.mean(axis=(0, 1)))
                        kinds.append(kind)
                        patients.append(row["patient"])
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    predicted = cross_val_predict(
        model, np.array(features), kinds, groups=patients, cv=LeaveOneGroupOut()
    )
    assert len(kinds) > 100
    assert balanced_accuracy_score(kinds, predicted) < 0.65


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_patients": 1}, "n_patients must be at least 2, one for each centre, got 1"),
        ({"n_slides": 1}, r"n_slides must be at least n_patients \(2\), got 1"),
        ({"side_px": 511}, "side_px must be at least 512, got 511"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
    ],
)
def test_impossible_numbers_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        write_cohort(tmp_path / "out", **({"seed": 0} | SMALL | changes))
    assert not (tmp_path / "out").exists()


def test_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write the demo cohort to .*file"):
        write_cohort(tmp_path / "file", seed=0, **SMALL)
