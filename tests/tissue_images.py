"""Made-up H&E tiles, for tests of what looks for tissue."""

import numpy as np

_HAEMATOXYLIN = (0.65, 0.70, 0.29)
_EOSIN = (0.07, 0.99, 0.11)


def tissue_images(number: int, side_px: int, seed: int) -> np.ndarray:
    """Draw tiles (number, side_px, side_px, 3) of a slide that is stained as its seed says."""
    rng = np.random.default_rng(seed)
    amount_NHW2 = rng.gamma(2.0, 0.3, (number, side_px, side_px, 2)) * (1 + 0.2 * (seed % 4))
    density_NHW3 = amount_NHW2 @ np.array([_HAEMATOXYLIN, _EOSIN])
    return (255 * np.exp(-density_NHW3)).astype(np.uint8)


def shifted_images(
    number: int, side_px: int, seed: int, *, gain: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """Draw tiles of nuclei in stroma, the amounts of haematoxylin and eosin times a gain each."""
    rng = np.random.default_rng(seed)
    shape = (number, side_px, side_px)
    is_nucleus_NHW = rng.random(shape) < rng.uniform(0.2, 0.6, (number, 1, 1))
    haematoxylin_NHW = np.where(is_nucleus_NHW, 0.7, 0.1) * rng.uniform(0.6, 1.4, shape)
    eosin_NHW = np.where(is_nucleus_NHW, 0.15, 0.4) * rng.uniform(0.6, 1.4, shape)
    amount_NHW2 = np.stack([haematoxylin_NHW, eosin_NHW], axis=-1) * gain
    density_NHW3 = amount_NHW2 @ np.array([_HAEMATOXYLIN, _EOSIN])
    return np.round(255 * np.exp(-density_NHW3)).astype(np.uint8)
