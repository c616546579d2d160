import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsimclr.errors import SlideError
from medsimclr.slides.scale import (
    LevelChoice,
    Scale,
    choose_level,
    mpp_of_tiff_resolution,
    resolve_mpp,
)


def test_resolve_mpp_takes_the_mean_of_what_the_slide_states():
    scale = resolve_mpp((0.50, 0.51), "slide", override_mpp=None)
    assert scale == Scale(mpp=0.505, source="slide")


def test_the_flag_serves_slides_without_a_usable_scale_and_overrules_no_other():
    expected = Scale(mpp=0.25, source="--source-mpp")
    own = Scale(mpp=0.5, source="slide")
    assert resolve_mpp((0.5, 0.5), "slide", override_mpp=0.25) == own
    assert resolve_mpp((0.5, 0.6), "slide", override_mpp=0.25) == expected
    assert resolve_mpp((math.nan, 0.0), "slide", override_mpp=0.25) == expected
    assert resolve_mpp(None, None, override_mpp=0.25) == expected


def test_the_table_speaks_of_one_slide_and_overrules_it():
    from_table = resolve_mpp((0.5, 0.5), "slide", override_mpp=0.25, override_source="slides.csv")
    assert from_table == Scale(mpp=0.25, source="slides.csv")


@pytest.mark.parametrize(
    ("pixels_xy", "unit", "mpp_xy"),
    [
        ((40_000, 20_000), "centimeter", (0.25, 0.5)),
        ((50_800, 50_800), "inch", (0.5, 0.5)),
        ((300, 300), "inch", None),
        ((40_000, 40_000), "none", None),
        ((0, 40_000), "centimeter", None),
        ((40_000, math.nan), "centimeter", None),
        ((math.inf, 40_000), "centimeter", None),
        ((-40_000, -40_000), "centimeter", None),
        ((4e6, 4e6), "centimeter", None),
    ],
)
def test_tiff_resolution_is_a_scale_where_a_microscope_could_have_it(pixels_xy, unit, mpp_xy):
    assert mpp_of_tiff_resolution(pixels_xy, unit=unit) == mpp_xy


def test_resolve_mpp_never_guesses():
    with pytest.raises(SlideError, match=r"states no mpp.*--source-mpp.*slides\.csv"):
        resolve_mpp(None, None, override_mpp=None)


@pytest.mark.parametrize("mpp", [0.0, -0.5, math.nan, math.inf, 0.009, 101.0])
def test_resolve_mpp_refuses_implausible_values(mpp):
    for pair in ((mpp, 0.5), (0.5, mpp)):
        with pytest.raises(SlideError, match=r"states an mpp of .* between 0\.01 and 100 um/px"):
            resolve_mpp(pair, "slide", override_mpp=None)
    with pytest.raises(SlideError, match="the mpp of --source-mpp must lie between"):
        resolve_mpp((0.5, 0.5), "slide", override_mpp=mpp)
    with pytest.raises(SlideError, match=r"the mpp of slides\.csv must lie between"):
        resolve_mpp(None, None, override_mpp=mpp, override_source="slides.csv")


def test_resolve_mpp_refuses_pixels_that_are_not_square():
    assert resolve_mpp((0.5, 0.5249), "slide", override_mpp=None).mpp == pytest.approx(0.51245)
    for pair in ((0.5, 0.526), (0.526, 0.5)):
        with pytest.raises(SlideError, match=r"differ by more than 5%"):
            resolve_mpp(pair, "slide", override_mpp=None)


@pytest.mark.parametrize(
    ("target_mpp", "level", "resampling"),
    [
        (0.25, 0, "none"),
        (0.251, 0, "none"),
        (0.2515, 0, "area"),
        (0.5, 0, "area"),
        (0.99, 0, "area"),
        (0.996, 1, "none"),
        (1.0, 1, "none"),
        (1.2, 1, "area"),
        (50.0, 2, "area"),
        (0.2489, 0, "none"),
        (0.2486, 0, "linear"),
        (0.2273, 0, "linear"),
        (0.25 / 1.1, 0, "linear"),
    ],
)
def test_choose_level_takes_the_coarsest_that_is_fine_enough(target_mpp, level, resampling):
    levels = (0.25, 1.0, 4.0)
    choice = choose_level(levels, target_mpp=target_mpp)
    assert (choice.level, choice.level_mpp) == (level, levels[level])
    assert choice.resampling == resampling


@pytest.mark.parametrize(
    ("level_mpp", "level_px_per_px"),
    [
        (0.5, 1.0),
        (0.4975, 1.0),
        (0.5025, 1.0),
        (0.4974, 0.5 / 0.4974),
        (0.5026, 0.5 / 0.5026),
        (0.25, 2.0),
        (0.2488, 2.0),
        (0.2487, 0.5 / 0.2487),
    ],
)
def test_a_level_within_half_a_percent_of_a_whole_multiple_is_that_multiple(
    level_mpp, level_px_per_px
):
    assert choose_level([level_mpp], target_mpp=0.5) == LevelChoice(
        level=0, level_mpp=level_mpp, level_px_per_px=level_px_per_px
    )


def test_choose_level_allows_ten_percent_exactly():
    assert 1.13 * 1.1 < 1.243  # in floating point
    assert choose_level((1.243,), target_mpp=1.13).resampling == "linear"


def test_choose_level_takes_the_first_of_equal_levels():
    assert choose_level((0.5, 0.5, 0.5), target_mpp=0.5).level == 0


def test_choose_level_refuses_to_invent_pixels_and_says_what_would_do():
    with pytest.raises(SlideError, match=r"at most 0\.495 .*Ask for --mpp 0\.4546 or coarser"):
        choose_level((0.5, 2.0), target_mpp=0.45)


@given(st.lists(st.floats(0.05, 20), min_size=1, max_size=6).map(sorted), st.floats(0.05, 20))
def test_choose_level_is_never_coarser_than_ten_percent(level_mpps, target_mpp):
    try:
        choice = choose_level(level_mpps, target_mpp=target_mpp)
    except SlideError as error:
        advised = float(str(error).split("--mpp ")[1].split(" ")[0])
        assert min(level_mpps) > target_mpp * 1.1
        assert choose_level(level_mpps, target_mpp=advised).level == 0
        return
    assert choice.level_mpp == level_mpps[choice.level]
    assert choice.level_mpp <= target_mpp * 1.1001
    finer = [mpp for mpp in level_mpps if choice.level_mpp < mpp <= target_mpp]
    assert not finer
