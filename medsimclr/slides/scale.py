"""The scale of a slide, and the level to read for a scale asked.

Everything is in mpp, micrometres per pixel: a larger mpp is coarser. Nothing is guessed: not from
the magnification, which vendors define differently, nor from another slide.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from medsimclr.errors import SlideError

__all__ = [
    "LevelChoice",
    "MppSource",
    "Scale",
    "choose_level",
    "mpp_of_tiff_resolution",
    "resolve_mpp",
]

MppSource = Literal["slide", "tiff resolution", "ome-xml", "slides.csv", "--source-mpp"]

# Chosen here: outside these bounds no microscope slide was ever scanned.
_FINEST_MPP, _COARSEST_MPP = 0.01, 100.0
_MAX_ANISOTROPY = 0.05
# Scanners state 0.2520 or 0.5021 where 0.25 or 0.5 is meant; resampling for that only blurs.
_SAME_SCALE = 0.005
_MAX_UPSAMPLING = 0.10
_ADVICE = "Give --source-mpp, or an mpp column in slides.csv"
_UM_PER_UNIT = {"inch": 25_400.0, "centimeter": 10_000.0}
# Chosen here: 300 dpi (84.7 um/px) and less is what image programs write for a printer, no scale.
_COARSEST_TIFF_MPP = 80.0


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Scale of level 0 and where it comes from."""

    mpp: float
    """Micrometres per level-0 pixel, the mean of x and y."""
    source: MppSource
    """The slide's own metadata, its TIFF resolution, its OME-XML, the table, or the flag."""


@dataclass(frozen=True, kw_only=True)
class LevelChoice:
    """The level to read, and how its pixels become those asked."""

    level: int
    level_mpp: float
    """Micrometres per pixel of that level."""
    level_px_per_px: float
    """Pixels of the level per pixel asked: a whole number where that is within 0.5 %."""

    @property
    def resampling(self) -> Literal["none", "area", "linear"]:
        """none: the level's pixels are those asked; area: finer; linear: at most 10 % coarser."""
        if self.level_px_per_px == 1:
            return "none"
        return "area" if self.level_px_per_px > 1 else "linear"


def resolve_mpp(
    slide_mpp_xy: tuple[float, float] | None,
    slide_source: MppSource | None,
    *,
    override_mpp: float | None,
    override_source: Literal["slides.csv", "--source-mpp"] = "--source-mpp",
) -> Scale:
    """Return the scale of a slide.

    slides.csv speaks of this very slide and overrules it; --source-mpp is said of all slides at
    once, and serves those alone that state no scale that can be used.

    Args:
        slide_mpp_xy: What the slide states, unchecked.
        slide_source: Where slide_mpp_xy comes from.
        override_mpp: From --source-mpp or the slide table.
        override_source: Which of the two it is from.

    Raises:
        SlideError: There is no scale, it is no plausible number, or x and y differ by over 5 %.
    """
    if override_mpp is not None and not _is_plausible(override_mpp):
        raise SlideError(
            f"the mpp of {override_source} must lie between {_FINEST_MPP} and "
            f"{_COARSEST_MPP:g} um/px, got {override_mpp!r}. Mend it there."
        )
    problem = _problem(slide_mpp_xy)
    if override_mpp is not None and (override_source == "slides.csv" or problem is not None):
        return Scale(mpp=override_mpp, source=override_source)
    if problem is not None:
        raise SlideError(problem)
    assert slide_mpp_xy is not None
    assert slide_source is not None
    return Scale(mpp=sum(slide_mpp_xy) / 2, source=slide_source)


def _problem(slide_mpp_xy: tuple[float, float] | None) -> str | None:
    """Return why what a slide states is no scale, or None."""
    if slide_mpp_xy is None:
        return f"the slide states no mpp, and none is guessed. {_ADVICE}."
    if not all(_is_plausible(mpp) for mpp in slide_mpp_xy):
        return (
            f"the slide states an mpp of {slide_mpp_xy!r} (x, y); expected numbers between "
            f"{_FINEST_MPP} and {_COARSEST_MPP:g} um/px. {_ADVICE}, to overrule it."
        )
    if max(slide_mpp_xy) > min(slide_mpp_xy) * (1 + _MAX_ANISOTROPY):
        return (
            f"the slide states an mpp of {slide_mpp_xy!r} (x, y), which differ by more than "
            f"{_MAX_ANISOTROPY:.0%}; tiles need square pixels. {_ADVICE}, to overrule it."
        )
    return None


def mpp_of_tiff_resolution(
    pixels_per_unit_xy: tuple[float, float], *, unit: str
) -> tuple[float, float] | None:
    """Return um/px of a TIFF's XResolution and YResolution, or None where they state no scale.

    Every paint program writes a resolution: 72 or 300 dpi is for a printer.

    Args:
        pixels_per_unit_xy: XResolution, YResolution.
        unit: ResolutionUnit, "inch" or "centimeter"; any other is none.
    """
    um = _UM_PER_UNIT.get(unit)
    if um is None or not all(0 < pixels < math.inf for pixels in pixels_per_unit_xy):
        return None
    mpp_xy = (um / pixels_per_unit_xy[0], um / pixels_per_unit_xy[1])
    return mpp_xy if all(_FINEST_MPP <= mpp <= _COARSEST_TIFF_MPP for mpp in mpp_xy) else None


def _is_plausible(mpp: float) -> bool:
    return math.isfinite(mpp) and _FINEST_MPP <= mpp <= _COARSEST_MPP


def choose_level(level_mpps: Sequence[float], *, target_mpp: float) -> LevelChoice:
    """Choose the coarsest level that is at least as fine as asked.

    Args:
        level_mpps: Micrometres per pixel of each level, level 0 first.
        target_mpp: Micrometres per pixel asked.

    Raises:
        SlideError: Every level is more than 10 % coarser than asked.
    """
    assert level_mpps, "a slide has a level"
    assert target_mpp > 0, target_mpp
    ratios = [_level_px_per_px(level_mpp, target_mpp) for level_mpp in level_mpps]
    fine_enough = [level for level, ratio in enumerate(ratios) if ratio >= 1]
    if fine_enough:
        # max() keeps the first of equals: planes of a z-stack come as levels of one size.
        level = max(fine_enough, key=lambda index: level_mpps[index])
        return LevelChoice(level=level, level_mpp=level_mpps[level], level_px_per_px=ratios[level])
    finest_mpp = level_mpps[0]
    # 1e-9: 1.243 must pass where 1.13 is asked, though 1.13 * 1.1 rounds below it.
    if finest_mpp <= target_mpp * (1 + _MAX_UPSAMPLING) * (1 + 1e-9):
        return LevelChoice(level=0, level_mpp=finest_mpp, level_px_per_px=ratios[0])
    finest_target_mpp = math.ceil(finest_mpp / (1 + _MAX_UPSAMPLING) * 1e4) / 1e4
    raise SlideError(
        f"the slide has {finest_mpp:.4g} um/px, but {target_mpp:g} um/px were asked: at most "
        f"{target_mpp * (1 + _MAX_UPSAMPLING):.4g} ({_MAX_UPSAMPLING:.0%} coarser) is allowed, "
        f"since upsampling invents pixels. Ask for --mpp {finest_target_mpp:g} or coarser, or "
        "leave this slide out."
    )


def _level_px_per_px(level_mpp: float, target_mpp: float) -> float:
    """Return how many pixels of a level make one asked, whole where the scale is within 0.5 %."""
    whole = max(1, round(target_mpp / level_mpp))
    # 1e-9: 0.4975 must count as 0.5, though 1 - 0.4975 / 0.5 rounds above 0.005.
    is_whole = abs(whole * level_mpp / target_mpp - 1) <= _SAME_SCALE + 1e-9
    return float(whole) if is_whole else target_mpp / level_mpp
