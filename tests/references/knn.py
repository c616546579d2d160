"""Weighted nearest neighbours of InstDisc (arXiv 1805.01978, section 3.4), in float64 loops."""

import math

__all__ = ["across_units_loops", "cosine_loops", "knn_loops"]


def cosine_loops(first_D, second_D):
    """Cosine of the angle between two vectors; 0 where one of them is zero."""
    dot = sum(float(a) * float(b) for a, b in zip(first_D, second_D, strict=True))
    length = math.sqrt(sum(float(a) ** 2 for a in first_D) * sum(float(b) ** 2 for b in second_D))
    return dot / length if length > 0 else 0.0


def knn_loops(query_QD, bank_ND, labels_N, *, n_classes, k, temperature):
    """Return the k largest similarities and the class probabilities of each query."""
    all_similarities, all_probabilities = [], []
    for query in query_QD:
        scored = [
            (cosine_loops(query, entry), int(label))
            for entry, label in zip(bank_ND, labels_N, strict=True)
        ]
        nearest = sorted(scored, key=lambda pair: -pair[0])[:k]
        votes = [0.0] * n_classes
        for similarity, label in nearest:
            votes[label] += math.exp(similarity / temperature)
        all_similarities.append([similarity for similarity, _ in nearest])
        all_probabilities.append([vote / sum(votes) for vote in votes])
    return all_similarities, all_probabilities


def across_units_loops(features_ND, labels_N, units_N, *, k, temperature):
    """Balanced accuracy of tiles classified by neighbours of other units, all tiles labelled."""
    classes = sorted({int(label) for label in labels_N})
    hits = {c: [] for c in classes}
    for query, label, unit in zip(features_ND, labels_N, units_N, strict=True):
        others = [i for i, other in enumerate(units_N) if other != unit]
        _, probabilities = knn_loops(
            [query],
            [features_ND[i] for i in others],
            [classes.index(int(labels_N[i])) for i in others],
            n_classes=len(classes),
            k=k,
            temperature=temperature,
        )
        best = max(range(len(classes)), key=lambda c: probabilities[0][c])
        hits[int(label)].append(classes[best] == int(label))
    return sum(sum(own) / len(own) for own in hits.values()) / len(classes)
