"""What a comparison says in words, from figures that are known."""

import pytest

from medsimclr.report.comparison_figure import comparison_figure
from medsimclr.report.comparison_runs import COLOUR, RANDOM, SeedFigures
from medsimclr.report.comparison_table import Comparison, comparison_notes, table_cells


def figures(auroc, **changes):
    known = {"knn": 0.5, "linear": 0.6, "unseen": None, "unseen_auroc": None}
    readable = {"readable": 0.4, "readable_chance": 0.25}
    return SeedFigures(**{**known, **readable, "auroc": auroc, **changes})


def comparison(**aurocs):
    """A comparison of rows with these AUROCs, one a seed."""
    rows = {name.replace("_", " "): values for name, values in aurocs.items()}
    n_seeds = len(next(iter(rows.values())))
    seeds = [{name: figures(values[s]) for name, values in rows.items()} for s in range(n_seeds)]
    return Comparison(
        seeds=tuple(seeds),
        read_from_features="patient",
        unseen=None,
        budget="30 epochs",
        n_folds=3,
        tested=tuple((8 - s, 900) for s in range(n_seeds)),
    )


STEADY = {"random_encoder": [0.70, 0.60, 0.65], "colour_statistics": [0.72, 0.61, 0.64]}


def test_the_lead_of_the_best_row_is_judged_seed_by_seed():
    """The seeds differ by 0.1, the rows within a seed by 0.05 exactly: paired, that is plain."""
    found = comparison_notes(
        comparison(weak=[0.75, 0.65, 0.70], strong=[0.80, 0.70, 0.751], **STEADY)
    )
    text = "\n".join(found)
    assert "strong is the best of 2 row(s) by linear AUROC" in text
    assert "strong is ahead of weak: +0.050 (" in text
    assert f"strong is ahead of {RANDOM}: +0.100 (" in text
    assert "guessing gives 0.250" in text
    assert "(6 to 8 test patients with 900 tiles)" in text
    assert "kNN: no policy is above random encoder or colour statistics." in found
    assert not any(note.startswith("linear AUROC: no policy") for note in found)


def test_a_lead_that_seeds_contradict_is_not_claimed():
    found = comparison_notes(comparison(a=[0.9, 0.5, 0.7], b=[0.6, 0.7, 0.6], **STEADY))
    assert any(note.startswith("a is not shown to be ahead of b: +0.067 (") for note in found)
    assert any(note.startswith(f"a is not shown to be ahead of {COLOUR}") for note in found)


def test_more_rivals_ask_for_more():
    one = comparison(a=[0.80, 0.71, 0.76], b=[0.75, 0.65, 0.70], **STEADY)
    many = comparison(
        a=[0.80, 0.71, 0.76],
        b=[0.75, 0.65, 0.70],
        **{f"c{i}": [0.5, 0.5, 0.5] for i in range(5)},
        **STEADY,
    )

    def low(found):
        (note,) = (n for n in comparison_notes(found) if " b: " in n)
        return float(note.partition("(")[2].partition(" to")[0])

    assert low(many) < low(one)


def test_one_seed_settles_nothing():
    one = comparison(a=[0.8], random_encoder=[0.7], colour_statistics=[0.7])
    assert comparison_notes(one)[-1].startswith("One seed settles nothing")
    assert table_cells(one)[1] == ["a", "0.500", "0.600", "0.800", "0.400"]


def test_an_auroc_that_a_seed_lacks_is_left_out_and_said():
    lacking = comparison(a=[0.8, None, 0.7], **STEADY)
    assert "linear AUROC" not in table_cells(lacking)[0]
    notes = comparison_notes(lacking)
    assert any("AUROC is left out" in note for note in notes)
    assert any("best of 1 row(s) by linear," in note for note in notes)


def test_cells_hold_mean_and_interval_between_0_and_1():
    cells = table_cells(comparison(a=[0.99, 0.9, 0.95], **STEADY))
    assert cells[0] == ["policy", "kNN", "linear", "linear AUROC", "patient readable"]
    assert cells[1][3] == "0.947 (0.835–1.000)"


def test_the_picture_has_a_panel_a_figure_and_a_dot_a_seed():
    figure = comparison_figure(comparison(a=[0.8, 0.7, 0.9], **STEADY))
    titles = [axes.get_title().splitlines()[0] for axes in figure.axes]
    assert titles == ["kNN", "linear", "linear AUROC", "patient readable"]
    area = figure.axes[2]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["a", RANDOM, COLOUR]
    dots = [line for line in area.lines if line.get_marker() == "."]
    assert dots[0].get_xdata() == pytest.approx([0.8, 0.7, 0.9])
    low, high = area.get_xlim()
    assert low < 0.6
    assert high > 0.9
