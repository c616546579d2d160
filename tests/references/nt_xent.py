"""NT-Xent one anchor and one candidate at a time (arXiv 2002.05709, equation 1)."""

import math

__all__ = ["contrastive_task_loops", "nt_xent_loops"]


def nt_xent_loops(a: list[list[float]], b: list[list[float]], temperature: float) -> float:
    """Return the sum over both directions of the mean over pairs."""
    rows = [_unit(row) for row in a + b]
    n_pairs = len(a)
    total = 0.0
    for anchor in range(2 * n_pairs):
        partner = (anchor + n_pairs) % (2 * n_pairs)
        denominator = 0.0
        for other in range(2 * n_pairs):
            if other != anchor:
                denominator += math.exp(_dot(rows[anchor], rows[other]) / temperature)
        positive = math.exp(_dot(rows[anchor], rows[partner]) / temperature)
        total += -math.log(positive / denominator)
    return total / n_pairs


def contrastive_task_loops(
    a: list[list[float]], b: list[list[float]], temperature: float
) -> tuple[float, float]:
    """Return accuracy and entropy (nats) of finding a row's partner among the rows of view b."""
    n_right, entropy = 0, 0.0
    for anchor, row in enumerate(a):
        logits = [_dot(_unit(row), _unit(other)) / temperature for other in b]
        n_right += logits.index(max(logits)) == anchor
        weights = [math.exp(logit - max(logits)) for logit in logits]
        for weight in weights:
            share = weight / sum(weights)
            entropy -= share * math.log(share) if share > 0 else 0.0
    return n_right / len(a), entropy / len(a)


def _unit(row: list[float]) -> list[float]:
    norm = math.sqrt(max(_dot(row, row), 1e-12))
    return [value / norm for value in row]


def _dot(left: list[float], right: list[float]) -> float:
    return sum(x * y for x, y in zip(left, right, strict=True))
