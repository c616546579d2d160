"""Weighted nearest neighbours of InstDisc (arXiv 1805.01978, section 3.4), in float64 loops."""

import math

__all__ = ["cosine_loops", "knn_loops"]


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
