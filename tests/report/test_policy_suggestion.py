import functools
import shlex
from dataclasses import replace
from itertools import pairwise

import pytest

from medsimclr.config.base import resolve
from medsimclr.config.policies import PolicySuggestConfig
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.errors import NoInputError, SplitError
from medsimclr.report.policy_suggestion import suggest_policy
from medsimclr.report.suggestion_figure import suggestion_figure
from medsimclr.report.suggestion_table import (
    group_cells,
    reach_cells,
    suggested_commands,
    suggestion_notes,
)
from tests.tiny_store import write_tiny_store
from tests.tissue_images import shifted_images

_GAINS = {"A": (1.0, 1.0), "B": (1.76, 0.57)}


def _images_of(number, side_px, seed):
    return shifted_images(number, side_px, seed, gain=_GAINS["AB"[seed % 2]])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("suggest")
    apart = {"images_of": _images_of, "centres": ["A", "B"]}
    write_tiny_store(place / "apart.zarr", n_patients=4, tiles_per_patient=32, **apart)
    alike = functools.partial(shifted_images, gain=(1.0, 1.0))
    write_tiny_store(place / "alike.zarr", n_patients=4, images_of=alike)
    (place / "split.csv").write_text("patient,split\nP0,train\nP1,test\nP2,train\nP3,test\n")
    (place / "short.csv").write_text("patient,split\nP0,train\n")
    return place


@functools.cache
def _suggested(store, **settings):
    return suggest_policy(PolicySuggestConfig(store=store, view_px=36, **settings))


def test_a_planted_shift_is_found_and_spanned(place):
    suggestion = _suggested(place / "apart.zarr")

    centre_a, centre_b = suggestion.stains
    assert (centre_a.name, centre_a.n_slides, centre_a.n_tiles) == ("A", 2, 64)
    assert centre_b.gap.gain[0] / centre_a.gap.gain[0] == pytest.approx(1.76, abs=0.1)
    assert centre_b.gap.gain[1] / centre_a.gap.gain[1] == pytest.approx(0.57, abs=0.06)
    # Typical staining lies half way, at 1.38 and 0.785: both centres are 0.275 of it away.
    assert suggestion.needed[0] == pytest.approx(0.275, abs=0.02)
    assert suggestion.default == (0.2, 0.1)
    assert suggestion.suggested == (0.3, 0.1)


def test_what_is_suggested_covers_more_than_the_default(place):
    reaches = {reach.what: reach.covered for reach in _suggested(place / "apart.zarr").reaches}
    assert list(reaches) == [
        "the tiles as they are",
        "stain_jitter as it is",
        "stain_jitter as suggested",
        "stain_mix fitted to these slides",
    ]
    tiles, default, suggested, fitted = reaches.values()
    assert tiles < 0.2
    assert default < suggested
    assert fitted > tiles


def test_strengths_are_never_below_the_default(place):
    suggestion = _suggested(place / "alike.zarr")
    assert suggestion.groups.kind == "patient"
    assert max(suggestion.needed) < 0.1
    assert suggestion.suggested == suggestion.default
    assert len(suggestion.reaches) == 3
    notes = "\n".join(suggestion_notes(suggestion, split=None))
    assert "The default strengths of stain_jitter span that: nothing to change." in notes
    assert "so patients are compared, whose tissue differs too" in notes
    assert "half of the patients have fewer than 30 tiles" in notes
    assert "--set" not in suggested_commands(suggestion, store=place, split=None)[0]


def test_training_patients_alone_are_looked_at_with_a_split(place):
    suggestion = _suggested(place / "apart.zarr", split=place / "split.csv")
    assert suggestion.groups.kind == "patient"
    assert [stain.name for stain in suggestion.stains] == ["P0", "P2"]
    assert "test patients" in suggestion_notes(suggestion, split=None)[-1]
    assert "test patients" not in " ".join(suggestion_notes(suggestion, split=place / "split.csv"))


def test_the_same_seed_suggests_the_same_and_another_looks_elsewhere(place):
    few = {"tiles": 4, "views": 2}
    first = _suggested(place / "apart.zarr", seed=1, **few).record()
    again = suggest_policy(
        PolicySuggestConfig(store=place / "apart.zarr", view_px=36, seed=1, **few)
    )
    assert first == again.record()
    assert first != _suggested(place / "apart.zarr", seed=2, **few).record()


def test_jitter_that_would_bleach_is_not_suggested(tmp_path):
    def images_of(number, side_px, seed):
        gain = (1.0, 1.0) if seed % 2 else (0.25, 2.5)
        return shifted_images(number, side_px, seed, gain=gain)

    store = write_tiny_store(tmp_path / "far.zarr", n_patients=2, images_of=images_of)
    suggestion = _suggested(store)
    assert suggestion.needed[0] > 0.55
    assert suggestion.suggested[0] == 0.5
    notes = suggestion_notes(suggestion, split=None)
    assert any(note.startswith("note: jitter that strong would bleach") for note in notes)


def test_the_commands_name_the_store_the_split_and_the_strengths(place):
    suggestion = _suggested(place / "apart.zarr")
    gain, offset = suggestion.suggested
    options = (
        f"--set policy_options.gain_sigma={gain:g} --set policy_options.offset_sigma={offset:g}"
    )
    commands = suggested_commands(suggestion, store="a b.zarr", split="s.csv")
    assert set(commands) == {
        f"medsimclr pretrain 'a b.zarr' --policy stain_jitter {options} --split s.csv --out RUN",
        f"medsimclr pretrain 'a b.zarr' --policy histology {options} --split s.csv --out RUN",
        "medsimclr policies fit stain_mix --store 'a b.zarr' --split s.csv --out stain_mix.toml",
    }
    *_, suggested, fitted = suggestion.reaches
    assert ("policies fit" in commands[0]) == (fitted.covered > suggested.covered)


def test_without_a_split_the_commands_tell_evaluate_whose_stains_were_looked_at(place):
    suggestion = _suggested(place / "apart.zarr")
    commands = suggested_commands(suggestion, store="s.zarr", split=None)
    (jitter,) = [shlex.split(line) for line in commands if "stain_jitter" in line]
    config = resolve(
        PretrainConfig,
        flags={"store": "s.zarr", "out": "RUN"},
        assignments=[word for before, word in pairwise(jitter) if before == "--set"],
    )
    assert config.policy_fitted_on == ["P0", "P1", "P2", "P3"]
    assert config.policy_options["gain_sigma"] == suggestion.suggested[0]
    assert "the commands name them" in suggestion_notes(suggestion, split=None)[-1]

    many = replace(suggestion, patients=tuple(f"P{i}" for i in range(200)))
    assert "fitted_on" not in " ".join(suggested_commands(many, store="s.zarr", split=None))
    assert "evaluate will not know that: give --split" in suggestion_notes(many, split=None)[-1]


def test_the_notes_say_how_many_of_how_many_are_spanned(place):
    suggestion = _suggested(place / "apart.zarr")
    notes = suggestion_notes(suggestion, split=None)
    gain, offset = suggestion.needed
    assert notes[1] == (
        f"All 2 centres lie within both a gain of 1 +- {gain:.2f} and an offset of +- "
        f"{offset:.2f} optical density of typical staining."
    )
    twenty = replace(suggestion.groups, groups=suggestion.groups.groups * 10)
    notes = suggestion_notes(replace(suggestion, groups=twenty), split=None)
    assert notes[1].startswith("19 of 20 centres lie within both")


def test_the_tables_have_a_row_for_each(place):
    suggestion = _suggested(place / "apart.zarr")
    cells = group_cells(suggestion)
    assert [row[0] for row in cells] == ["centre", "A", "B"]
    assert {len(row) for row in cells} == {10}
    assert len(reach_cells(suggestion)) == 5


def test_the_picture_names_the_centres_and_the_strengths(place):
    suggestion = _suggested(place / "apart.zarr")
    figure = suggestion_figure(suggestion)
    assert "the 2 centres are stained" in figure.subfigs[0].get_suptitle()
    assert {axes.get_title() for axes in figure.subfigs[0].axes} == {"A", "B"}
    plane, bars = figure.subfigs[1].axes
    gain, offset = suggestion.suggested
    texts = [text.get_text() for text in plane.get_legend().get_texts()]
    assert texts[-1] == f"stain_jitter as suggested: gain 1 ± {gain:g}, offset ± {offset:g}"
    widths = [bar.get_width() for bar in bars.patches]
    assert widths == pytest.approx([100 * reach.covered for reach in suggestion.reaches])


def test_a_split_that_does_not_fit_and_a_single_slide_are_refused(place, tmp_path):
    with pytest.raises(SplitError, match="must name every patient of the store"):
        _suggested(place / "apart.zarr", split=place / "short.csv")
    one = write_tiny_store(tmp_path / "one.zarr", n_patients=1)
    with pytest.raises(NoInputError, match="at least 2 slides to compare their stains, got 1"):
        _suggested(one)
