from dataclasses import replace

import numpy as np
import pytest

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.stain_amount import mean_amounts
from medsimclr.data.stain_groups import StainGroup
from medsimclr.data.stain_reach import draw_reach, mean_coverage
from medsimclr.report.reach_figure import percent, reach_figure
from tests.tissue_images import shifted_images


def _groups(n_groups):
    groups = []
    for number in range(n_groups):
        tiles_NVV3 = shifted_images(8, 24, number, gain=(1 + 0.2 * number, 1.0))
        amount_N3 = mean_amounts(tiles_NVV3)
        groups.append(StainGroup(f"P{number}", 1, tiles_NVV3, amount_N3, tiles_NVV3.reshape(-1, 3)))
    return groups


@pytest.fixture(scope="module")
def reaches():
    return draw_reach(_groups(5), load_policy("stain_jitter"), n_views=3, seed=0)


def test_the_title_says_what_is_covered(reaches):
    title = reach_figure(reaches, policy="mine", kind="patient").get_suptitle()
    before, after = mean_coverage(reaches)
    assert title.startswith("mine: do its views reach the stains of other patients?")
    assert f"{percent(after)} of the other patients' tiles" in title
    assert f"the tiles themselves {percent(before)} (means over 5 patients)" in title


@pytest.mark.parametrize(("n_groups", "n_rows"), [(2, 2), (5, 3)])
def test_a_row_is_drawn_for_each_group_or_for_the_ends_and_the_middle(reaches, n_groups, n_rows):
    figure = reach_figure(reaches[:n_groups], policy="mine", kind="patient")
    assert len(figure.axes) == 3 * n_rows
    titles = [axes.get_title() for axes in figure.axes[::3]]
    if n_rows == 3:
        shares = [float(title.split(": ")[1].split(" %")[0]) for title in titles]
        every = sorted(round(100 * reach.covered_after) for reach in reaches)
        assert shares == [every[0], every[2], every[4]]


def test_views_without_tissue_have_no_region_and_are_told(reaches):
    lost = [
        replace(
            reach,
            views_NVV3=reach.views_NVV3[:0],
            view_amount_N3=reach.view_amount_N3[:0],
            view_tile_N=reach.view_tile_N[:0],
            n_lost=24,
        )
        for reach in reaches[:2]
    ]
    figure = reach_figure(lost, policy="mine", kind="patient")
    assert "48 of 48 views have no tissue" in figure.get_suptitle()
    assert ": 0 % covered" in figure.axes[0].get_title()


def test_every_other_tile_is_a_point_covered_or_not(reaches):
    figure = reach_figure(reaches[:2], policy="mine", kind="patient")
    n_points = [len(part.get_offsets()) for part in figure.axes[0].collections[:2]]
    expected = int(reaches[0].is_covered_N.sum())
    # The figure knows two groups, the reaches five: the other four have eight tiles each.
    assert n_points == [expected, 32 - expected]


def test_histograms_are_shares_of_the_tissue(reaches):
    figure = reach_figure(reaches[:2], policy="mine", kind="patient")
    for axes in figure.axes[1:3]:
        sums = [float(np.sum(part.get_data().values)) for part in axes.patches]
        assert sums == pytest.approx([100.0] * 3)
