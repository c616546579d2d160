"""Metrics by their definitions, in loops; the AUROC over every pair of tiles."""

__all__ = ["auroc_pairs", "confusion_loops", "macro_auroc_pairs"]


def auroc_pairs(is_positive_N, score_N):
    """Fraction of (positive, negative) pairs in the right order; a tie counts half."""
    won, n_pairs = 0.0, 0
    for is_positive, score in zip(is_positive_N, score_N, strict=True):
        for is_other_positive, other_score in zip(is_positive_N, score_N, strict=True):
            if is_positive and not is_other_positive:
                n_pairs += 1
                won += 1.0 if score > other_score else 0.5 if score == other_score else 0.0
    return won / n_pairs


def macro_auroc_pairs(labels_N, probabilities_NC):
    """Mean over the classes of the AUROC of each against the rest; class 1 alone where C = 2."""
    n_classes = len(probabilities_NC[0])
    classes = [1] if n_classes == 2 else range(n_classes)
    areas = []
    for c in classes:
        areas.append(auroc_pairs([y == c for y in labels_N], [row[c] for row in probabilities_NC]))
    return sum(areas) / len(areas)


def confusion_loops(labels_N, probabilities_NC):
    """Tiles counted by truth (row) and most probable class (column); the first of equals wins."""
    n_classes = len(probabilities_NC[0])
    counts = [[0] * n_classes for _ in range(n_classes)]
    for label, row in zip(labels_N, probabilities_NC, strict=True):
        predicted = 0
        for c in range(n_classes):
            if row[c] > row[predicted]:
                predicted = c
        counts[label][predicted] += 1
    return counts
