"""Colour statistics of a tile: the baseline that sees no tissue structure.

Stain and scanner alone often separate classes, because classes come from different centres or
batches. A linear probe on these features says how much of a result colour explains; a learnt
representation has to beat it. Every feature is a function of the multiset of a tile's pixels:
shuffling the pixels changes nothing.

Features of a tile, in order: for each of red, green, blue, the optical densities of red, green and
blue, and chroma (largest minus smallest channel): mean, standard deviation, and the 5th, 25th,
50th, 75th and 95th percentile; then the correlations red-green, red-blue, green-blue. Colours are
in 0 to 1; optical density is -log10((value + 1) / 256), in 0 to 2.41.

Shapes: N tiles, H x W = P pixels, 3 channels (RGB), V = 256 values, K features.
"""

import numpy as np
import numpy.typing as npt

from medsimclr.evaluation.metrics import FloatArray, IntArray

__all__ = ["N_COLOUR_FEATURES", "colour_features"]

_PERCENTS = np.array([5, 25, 50, 75, 95])
_VALUE_V = np.arange(256) / 255.0
_OPTICAL_DENSITY_V = -np.log10((np.arange(256) + 1) / 256.0)

N_COLOUR_FEATURES = 7 * (2 + len(_PERCENTS)) + 3


def colour_features(tiles_NHW3: npt.NDArray[np.uint8]) -> FloatArray:
    """Compute colour statistics of RGB tiles; float64 (N, N_COLOUR_FEATURES)."""
    assert tiles_NHW3.dtype == np.uint8, tiles_NHW3.dtype
    assert tiles_NHW3.ndim == 4, tiles_NHW3.shape
    assert tiles_NHW3.shape[3] == 3, tiles_NHW3.shape
    features_NK = np.empty((len(tiles_NHW3), N_COLOUR_FEATURES))
    for index, tile_HW3 in enumerate(tiles_NHW3):
        features_NK[index] = _tile_features(np.ascontiguousarray(tile_HW3.reshape(-1, 3).T))
    return features_NK


def _tile_features(channels_3P: npt.NDArray[np.uint8]) -> FloatArray:
    # uint8 values have 256 levels: histograms give every statistic exactly, without sorting pixels.
    histogram_3V = [np.bincount(channel_P, minlength=256) for channel_P in channels_3P]
    chroma_P = channels_3P.max(axis=0) - channels_3P.min(axis=0)
    parts = [_distribution(histogram_V, _VALUE_V) for histogram_V in histogram_3V]
    parts += [_distribution(histogram_V, _OPTICAL_DENSITY_V) for histogram_V in histogram_3V]
    parts.append(_distribution(np.bincount(chroma_P, minlength=256), _VALUE_V))
    parts.append(_correlations(channels_3P))
    return np.concatenate(parts)


def _distribution(histogram_V: IntArray, value_V: FloatArray) -> FloatArray:
    """Return mean, standard deviation and percentiles of values that occur histogram_V times."""
    n_pixels = histogram_V.sum()
    mean = np.sum(histogram_V * value_V) / n_pixels
    variance = np.sum(histogram_V * (value_V - mean) ** 2) / n_pixels
    # Smallest value that at least p percent of the pixels do not exceed, in whole numbers.
    if value_V[0] > value_V[-1]:
        histogram_V, value_V = histogram_V[::-1], value_V[::-1]
    percentiles = value_V[np.searchsorted(np.cumsum(histogram_V) * 100, _PERCENTS * n_pixels)]
    return np.concatenate([[mean, np.sqrt(variance)], percentiles])


def _correlations(channels_3P: npt.NDArray[np.uint8]) -> FloatArray:
    """Return the correlations of the channels; 0 where a channel is constant."""
    # Sums of whole numbers are exact, so a constant channel has a variance of exactly 0.
    values_3P = channels_3P.astype(np.float64)
    sums_3 = values_3P.sum(axis=1)
    scatter_33 = values_3P.shape[1] * (values_3P @ values_3P.T) - np.outer(sums_3, sums_3)
    deviation_3 = np.sqrt(np.diagonal(scatter_33))
    scale_33 = np.outer(deviation_3, deviation_3)
    correlation_33: FloatArray = scatter_33 / np.where(scale_33 > 0, scale_33, 1)
    return correlation_33[[0, 0, 1], [1, 2, 2]]
