"""The step from tile to tile, which two options say in two ways."""

__all__ = ["step_px_of"]


def step_px_of(*, tile_px: int, stride_px: int | None, overlap_px: int | None) -> int:
    """Return the step, pixels of the tile's scale; a tile's side where neither option is given.

    Raises:
        ValueError: both are given, or tiles would not get on.
    """
    if stride_px is not None and overlap_px is not None:
        raise ValueError("give --stride-px or --overlap-px, not both")
    if overlap_px is not None and overlap_px >= tile_px:
        raise ValueError(f"--overlap-px must be below --tile-px {tile_px}")
    return stride_px or tile_px - (overlap_px or 0)
