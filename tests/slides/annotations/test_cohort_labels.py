"""Labels of a cohort whose cells are known, against the map of cells that made it."""

import importlib.util
import json
import sys

import numpy as np
import pytest
import zarr

from medsimclr.config.tile import TileConfig
from medsimclr.tiling.tile import tile
from tests.slides.annotations.shapes import WRITERS

N_SLIDES = 4
# At 0.5 um/px, the scale of the cohort; the grids of tiles never meet the grid of cells.
GRIDS = {
    "as large as a cell": {"mpp": 0.5, "tile_px": 224},
    "small": {"mpp": 0.5, "tile_px": 100},
    "resampled": {"mpp": 0.77, "tile_px": 96},
}


@pytest.fixture(scope="module")
def cohort(shared_data, tmp_path_factory):
    """Return the folder of a cohort, each slide's map of tumour cells, and the cells' frame."""
    path = shared_data.parent / "tools" / "make_cohort.py"
    spec = importlib.util.spec_from_file_location("make_cohort", path)
    make_cohort = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_cohort)
    maps = []
    draw_cells = make_cohort.tumour_cells

    def tumour_cells(grid, rng):
        maps.append(draw_cells(grid, rng))
        return maps[-1]

    make_cohort.tumour_cells = tumour_cells
    out = tmp_path_factory.mktemp("cohort")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["make_cohort.py", str(out), "--slides", str(N_SLIDES)])
        make_cohort.main()
    cells = {f"lung_{index:03d}": cells for index, cells in enumerate(maps)}
    return out, cells, (make_cohort.MARGIN, make_cohort.TILE)


@pytest.fixture(scope="module")
def annotations(cohort):
    """Return folders with the cohort's annotations in each of the three formats."""
    folder, _, _ = cohort
    folders = {"qupath.geojson": folder / "annotations"}
    for format_name in ("asap.xml", "imagescope.xml"):
        folders[format_name] = folder / format_name
        folders[format_name].mkdir()
        for path in sorted((folder / "annotations").iterdir()):
            features = json.loads(path.read_text())["features"]
            shapes = [
                (
                    feature["properties"]["classification"]["name"],
                    [
                        [tuple(point) for point in ring]
                        for ring in feature["geometry"]["coordinates"]
                    ],
                )
                for feature in features
            ]
            WRITERS[format_name](folders[format_name] / f"{path.stem}.xml", shapes)
    return folders


def _truth(level0_xy, cells, *, frame, side_px):
    """Return 1 for tiles that lie in tumour cells alone, 0 in normal cells alone, else -1."""
    margin, cell_px = frame
    truth = np.full(len(level0_xy), -1)
    for index, (x, y) in enumerate(level0_xy.tolist()):
        # Half a pixel of grace, for corners that were rounded.
        first = [int(np.floor((start - margin + 0.5) / cell_px)) for start in (x, y)]
        last = [int(np.ceil((start + side_px - margin - 0.5) / cell_px)) for start in (x, y)]
        if min(first) >= 0 and max(last) <= len(cells):
            held = cells[first[1] : last[1], first[0] : last[0]]
            truth[index] = {1.0: 1, 0.0: 0}.get(float(held.mean()), -1)
    return truth


@pytest.mark.slow
@pytest.mark.parametrize(
    ("grid_name", "format_name"),
    [
        ("as large as a cell", "qupath.geojson"),
        ("resampled", "qupath.geojson"),
        ("small", "qupath.geojson"),
        ("small", "asap.xml"),
        ("small", "imagescope.xml"),
    ],
)
def test_tiles_that_lie_in_one_class_have_its_label(
    cohort, annotations, tmp_path, grid_name, format_name
):
    folder, cells, frame = cohort
    grid = GRIDS[grid_name]
    config = TileConfig(
        inputs=[folder / "slides"],
        annotations=annotations[format_name],
        slides_csv=folder / "slides.csv",
        out=tmp_path / "s.zarr",
        min_tissue=0,
        **grid,
    )
    tile(config)
    store = zarr.open_group(config.out, mode="r")
    classes = store.attrs["medsimclr"]["classes"]
    assert classes == ["normal", "tumor"]
    n_of = {0: 0, 1: 0}
    n_right = 0
    for slide_id, cells_of_slide in cells.items():
        level0_xy, label = store[slide_id]["level0_xy"][:], store[slide_id]["label"][:]
        side_px = grid["tile_px"] * grid["mpp"] / 0.5
        truth = _truth(level0_xy, cells_of_slide, frame=frame, side_px=side_px)
        is_pure = truth >= 0
        n_right += int((label[is_pure] == truth[is_pure]).sum())
        for value in n_of:
            n_of[value] += int((truth == value).sum())
    assert min(n_of.values()) > 10, "the test must see both classes"
    assert n_right >= 0.995 * sum(n_of.values())
