"""What features and projections look like without any label.

Effective rank says how many directions features use, alignment how close the two views of a tile
lie, uniformity how evenly projections spread. Representations collapse towards rank 1, alignment 0
and uniformity 0.

Shapes: N rows, D dimensions.
"""

import math

import torch

__all__ = ["alignment", "rank_me", "uniformity"]

# Garrido et al. take this for float32 embeddings, whatever the precision of the decomposition.
_RANK_ME_EPSILON = 1e-7
_MIN_SQUARED_NORM = 1e-12


def rank_me(features_ND: torch.Tensor, *, epsilon: float = _RANK_ME_EPSILON) -> float:
    """Compute the effective rank of features, between 1 and min(N, D).

    RankMe = exp(-sum_k p_k log p_k) with p_k = s_k / sum_j s_j + epsilon over the min(N, D)
    singular values s_k; Garrido et al. 2022, arXiv 2210.02885, equations 1 and 2. As there,
    features are neither centred nor normalised: a large mean that all share makes the rank low.

    Args:
        features_ND: one row a tile; decomposed in float64.
        epsilon: as published, added to every p_k; it lifts the rank of a rank-1 matrix to 1.0008
            at 512 dimensions.

    Returns:
        The rank; 1 where every feature is zero, NaN where one is not finite.
    """
    assert features_ND.ndim == 2, features_ND.shape
    assert features_ND.numel() > 0, features_ND.shape
    features_ND = features_ND.detach().double()
    if not bool(features_ND.isfinite().all()):
        return float("nan")
    singular_K = torch.linalg.svdvals(features_ND)
    total = singular_K.sum()
    if total == 0:
        return 1.0
    p_K = singular_K / total + epsilon
    return float(torch.exp(-(p_K * p_K.log()).sum()))


def alignment(z_a_ND: torch.Tensor, z_b_ND: torch.Tensor) -> torch.Tensor:
    """Compute how far apart the two views of a tile lie: 0 together, 2 at right angles, 4 opposite.

    The mean over the N pairs of |a - b|² with rows normalised to length 1; Wang and Isola 2020,
    arXiv 2005.10242, equation 6 with alpha = 2.

    Args:
        z_a_ND: projections of view a, not normalised.
        z_b_ND: projections of view b.

    Returns:
        A scalar without gradient, in float32 or better.
    """
    assert z_a_ND.shape == z_b_ND.shape, (z_a_ND.shape, z_b_ND.shape)
    return (_unit_rows(z_a_ND) - _unit_rows(z_b_ND)).square().sum(dim=1).mean()


def uniformity(z_ND: torch.Tensor) -> torch.Tensor:
    """Compute how evenly projections spread over the sphere: 0 all together, near -4 spread out.

    log of the mean over the N (N - 1) / 2 pairs of exp(-2 |x - y|²) with rows normalised to length
    1; Wang and Isola 2020, arXiv 2005.10242, equation 7 with t = 2.

    Args:
        z_ND: projections of one view of every tile, not normalised.

    Returns:
        A scalar without gradient, in float32 or better; NaN for fewer than two rows.
    """
    unit_ND = _unit_rows(z_ND)
    squared_norm_N = unit_ND.square().sum(dim=1)
    with torch.autocast(unit_ND.device.type, enabled=False):
        product_NN = unit_ND @ unit_ND.T
    distance_NN = squared_norm_N[:, None] + squared_norm_N[None, :] - 2 * product_NN
    is_self_NN = torch.eye(len(z_ND), dtype=torch.bool, device=z_ND.device)
    exponent_NN = (-2 * distance_NN.clamp(min=0)).masked_fill(is_self_NN, -torch.inf)
    n_ordered_pairs = len(z_ND) * (len(z_ND) - 1)
    # A number of Python and not a tensor, which a GPU would have to wait for in every step.
    log_n_pairs = math.log(n_ordered_pairs) if n_ordered_pairs else -math.inf
    return exponent_NN.flatten().logsumexp(dim=0) - log_n_pairs


def _unit_rows(z_ND: torch.Tensor) -> torch.Tensor:
    """Normalise rows as NT-Xent does: a row of zeros stays one."""
    z_ND = z_ND.detach().to(torch.promote_types(z_ND.dtype, torch.float32))
    squared_norm_N1 = z_ND.square().sum(dim=1, keepdim=True)
    return z_ND * squared_norm_N1.clamp(min=_MIN_SQUARED_NORM).rsqrt()
