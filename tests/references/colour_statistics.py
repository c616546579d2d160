"""Colour statistics of one tile by their definitions, in float64 loops over sorted values."""

import math

__all__ = ["colour_features_loops"]


def _distribution(values):
    n = len(values)
    mean = sum(values) / n
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / n)
    ordered = sorted(values)
    # The smallest value that at least p percent of the values do not exceed.
    percentiles = [ordered[-(-p * n // 100) - 1] for p in (5, 25, 50, 75, 95)]
    return [mean, deviation, *percentiles]


def _correlation(first, second):
    if len(set(first)) == 1 or len(set(second)) == 1:
        return 0.0
    n = len(first)
    mean_1, mean_2 = sum(first) / n, sum(second) / n
    covariance = sum((a - mean_1) * (b - mean_2) for a, b in zip(first, second, strict=True))
    variance_1 = sum((a - mean_1) ** 2 for a in first)
    variance_2 = sum((b - mean_2) ** 2 for b in second)
    return covariance / math.sqrt(variance_1 * variance_2)


def colour_features_loops(tile_HW3):
    """Features of one tile, in the order that medsimclr.evaluation.colour_statistics documents."""
    channels = [[int(pixel[c]) for row in tile_HW3 for pixel in row] for c in range(3)]
    features = []
    for channel in channels:
        features += _distribution([value / 255 for value in channel])
    for channel in channels:
        features += _distribution([-math.log10((value + 1) / 256) for value in channel])
    chroma = [max(pixel) - min(pixel) for pixel in zip(*channels, strict=True)]
    features += _distribution([value / 255 for value in chroma])
    features.append(_correlation(channels[0], channels[1]))
    features.append(_correlation(channels[0], channels[2]))
    features.append(_correlation(channels[1], channels[2]))
    return features
