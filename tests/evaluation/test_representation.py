import math

import pytest
import torch

from medsimclr.evaluation.representation import alignment, rank_me, uniformity
from tests.references.representation import alignment_loops, rank_me_loops, uniformity_loops


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("shape", [(30, 8), (8, 30), (1, 5), (5, 1)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rank_me_equals_the_reference(shape, dtype):
    features_ND = draw(*shape).to(dtype)
    assert rank_me(features_ND) == pytest.approx(rank_me_loops(features_ND.double()), rel=1e-5)


def test_rank_me_counts_directions_of_equal_weight():
    assert rank_me(torch.eye(64)[:, :16]) == pytest.approx(16, rel=1e-4)
    assert rank_me(torch.ones(64, 512)) == pytest.approx(1, abs=1e-3)
    assert rank_me(torch.eye(16), epsilon=0) == pytest.approx(16, rel=1e-12)


def test_rank_me_does_not_mind_scale_order_or_rotation():
    features_ND = draw(40, 12)
    rotation_DD, _ = torch.linalg.qr(draw(12, 12, seed=1))
    changed_ND = 1e4 * features_ND[torch.arange(39, -1, -1)] @ rotation_DD
    assert rank_me(changed_ND) == pytest.approx(rank_me(features_ND), rel=1e-9)


def test_rank_me_of_zeros_and_of_what_is_not_finite():
    assert rank_me(torch.zeros(5, 4)) == 1.0
    assert math.isnan(rank_me(torch.tensor([[1.0, 2.0], [torch.inf, 0.0]])))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_alignment_and_uniformity_equal_the_loops(dtype, tolerance):
    z_a_ND, z_b_ND = draw(17, 6, dtype=dtype), draw(17, 6, dtype=dtype, seed=1)
    z_a_ND[3] = 0.0
    expected = alignment_loops(z_a_ND, z_b_ND)
    assert alignment(z_a_ND, z_b_ND).item() == pytest.approx(expected, abs=tolerance)
    expected = uniformity_loops(z_a_ND)
    assert uniformity(z_a_ND).item() == pytest.approx(expected, abs=tolerance)


def test_alignment_of_equal_orthogonal_and_opposite_views():
    z_ND = torch.eye(4)
    assert alignment(z_ND, 3 * z_ND).item() == 0
    assert alignment(z_ND, z_ND.roll(1, dims=0)).item() == 2
    assert alignment(z_ND, -z_ND).item() == 4


def test_uniformity_of_one_point_of_two_poles_and_of_a_sphere():
    assert uniformity(torch.ones(6, 3)).item() == pytest.approx(0, abs=1e-6)
    assert uniformity(torch.zeros(6, 3)).item() == 0
    assert uniformity(torch.tensor([[1.0], [-2.0]])).item() == pytest.approx(-8)
    assert uniformity(draw(200, 128)).item() == pytest.approx(-4, abs=0.1)


def test_uniformity_of_a_single_row_is_not_defined():
    assert math.isnan(uniformity(torch.ones(1, 3)).item())


def test_figures_carry_no_gradient_and_work_in_bf16_under_autocast():
    z_a_ND = draw(12, 8, dtype=torch.float32).requires_grad_()
    z_b_ND = draw(12, 8, dtype=torch.float32, seed=1)
    plain = alignment(z_a_ND, z_b_ND), uniformity(z_a_ND)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = alignment(z_a_ND, z_b_ND), uniformity(z_a_ND)
    assert under_autocast == plain
    assert not any(figure.requires_grad for figure in plain)
    assert alignment(z_a_ND.bfloat16(), z_b_ND.bfloat16()).dtype == torch.float32
