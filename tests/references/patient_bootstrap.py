"""Bootstrap over patients by really copying their tiles, in loops."""

import numpy as np

from tests.references.classification_metrics import confusion_loops, macro_auroc_pairs

__all__ = ["bootstrap_by_copying"]


def bootstrap_by_copying(labels_N, probabilities_NC, units_N, *, n_resamples, seed):
    """Resampled accuracy (all), balanced accuracy, AUROC and row rates (with every class only)."""
    units = sorted(set(units_N))
    n_classes = len(probabilities_NC[0])
    generator = np.random.default_rng(seed)
    accuracies, balanced, areas, rates = [], [], [], []
    for _ in range(n_resamples):
        labels, probabilities = [], []
        for drawn in generator.integers(0, len(units), size=len(units)):
            for n, unit in enumerate(units_N):
                if unit == units[drawn]:
                    labels.append(int(labels_N[n]))
                    probabilities.append(list(probabilities_NC[n]))
        counts = confusion_loops(labels, probabilities)
        accuracies.append(sum(counts[c][c] for c in range(n_classes)) / len(labels))
        if set(labels) != set(range(n_classes)):
            continue
        rate = [[count / sum(row) for count in row] for row in counts]
        rates.append(rate)
        balanced.append(sum(rate[c][c] for c in range(n_classes)) / n_classes)
        areas.append(macro_auroc_pairs(labels, probabilities))
    return accuracies, balanced, areas, rates
