"""A traced tumour of a million vertices: seconds, and as exact as a square."""

import numpy as np
import pytest

from medsimclr.slides.annotations.coverage import class_coverage
from medsimclr.slides.annotations.reading import read_annotation
from tests.slides.annotations.shapes import WRITERS

N_VERTICES = 1_000_000
TILE_PX = 300.0


@pytest.fixture(scope="module")
def outline():
    """A ring with large and fine dents around (10,000, 10,000), vertices 0.07 px apart."""
    angle = np.linspace(0, 2 * np.pi, N_VERTICES, endpoint=False)
    radius = 8000 + 600 * np.sin(37 * angle) + 40 * np.sin(4001 * angle)
    return 10_000 + np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]


def _area(ring_P2):
    (x, y), (next_x, next_y) = ring_P2.T, np.roll(ring_P2, -1, axis=0).T
    return abs((x * next_y - next_x * y).sum()) / 2


# Some 5 s each on one core; the limit is for machines that are busy.
@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("format_name", "decimals"),
    [("qupath.geojson", 3), ("qupath.geojson", 0), ("asap.xml", 0), ("imagescope.xml", 0)],
)
def test_a_million_vertices_are_read_and_laid_over_thousands_of_tiles(
    tmp_path, outline, format_name, decimals
):
    ring_P2 = outline.round(decimals)
    path = WRITERS[format_name](tmp_path / format_name, [("tumor", [ring_P2.tolist()])])
    areas = read_annotation(path)
    left, top = (axis.ravel() for axis in np.meshgrid(*[np.arange(0, 20_000, TILE_PX)] * 2))
    boxes_N4 = np.c_[left, top, left + TILE_PX, top + TILE_PX]
    coverage_N = class_coverage(list(areas.values()), boxes_N4)[:, 0]
    # Pixel tracing crosses itself where dents are finer than a pixel; that ground counts once.
    tolerance = 1e-7 if decimals else 1e-4
    assert coverage_N.sum() * TILE_PX**2 == pytest.approx(_area(ring_P2), rel=tolerance)
    assert len(coverage_N) > 4000
    assert (coverage_N == 1).sum() > 1000
    assert ((coverage_N > 0) & (coverage_N < 1)).sum() > 200
