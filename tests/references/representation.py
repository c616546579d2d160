"""RankMe, alignment and uniformity in float64 loops, from their papers."""

import math

import numpy as np

__all__ = ["alignment_loops", "rank_me_loops", "uniformity_loops"]


def rank_me_loops(features_ND, *, epsilon=1e-7):
    """exp of the entropy of the singular values; arXiv 2210.02885, equations 1 and 2.

    The singular values are roots of the eigenvalues of the smaller Gram matrix.
    """
    matrix = np.array(features_ND.tolist())
    gram = matrix @ matrix.T if len(matrix) < matrix.shape[1] else matrix.T @ matrix
    singular = [math.sqrt(max(value, 0.0)) for value in np.linalg.eigvalsh(gram)]
    entropy = 0.0
    for value in singular:
        p = value / sum(singular) + epsilon
        entropy -= p * math.log(p)
    return math.exp(entropy)


def alignment_loops(z_a_ND, z_b_ND):
    """Mean of |a - b|^2 on the sphere; arXiv 2005.10242, equation 6, alpha = 2."""
    squares = [_squared_distance(_unit(a), _unit(b)) for a, b in zip(z_a_ND, z_b_ND, strict=True)]
    return sum(squares) / len(squares)


def uniformity_loops(z_ND):
    """Log of the mean over pairs of exp(-2 |x - y|^2); arXiv 2005.10242, equation 7, t = 2."""
    kernel = []
    for i in range(len(z_ND)):
        for j in range(i):
            kernel.append(math.exp(-2 * _squared_distance(_unit(z_ND[i]), _unit(z_ND[j]))))
    return math.log(sum(kernel) / len(kernel))


def _unit(row):
    values = [float(value) for value in row]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values] if length > 0 else values


def _squared_distance(first, second):
    return sum((a - b) ** 2 for a, b in zip(first, second, strict=True))
