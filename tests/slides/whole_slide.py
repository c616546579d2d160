"""A slide seen whole, at any size, as tiling sees it."""

from medsimclr.slides.pixels import fit_within
from medsimclr.tiling.overview import read_thumbnail


def thumbnail_of(slide, *, max_px):
    """Return the whole slide as (H, W, 3) RGB, read by its reader, longer side at most max_px."""
    target_xy = fit_within(slide.dimensions_xy, max_px=max_px)
    return read_thumbnail(slide, {}, target_xy=target_xy, alive=lambda: None)
