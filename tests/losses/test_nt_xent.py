import math

import pytest
import torch

from medsimclr.losses.nt_xent import nt_xent
from tests.references.nt_xent import nt_xent_loops
from tests.references.numeric_gradient import numeric_gradient


def _sine_views(n_rows: int, n_columns: int, scale: float, shift: float) -> list[torch.Tensor]:
    index = torch.arange(n_rows * n_columns, dtype=torch.float64).reshape(n_rows, n_columns)
    return list(torch.sin(scale * index + shift).chunk(2))


def _random_views(n_pairs: int, dim: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2 * n_pairs, dim, generator=generator, dtype=torch.float64)
    return list(z.chunk(2))


@pytest.mark.parametrize(
    ("temperature", "golden"),
    [(0.1, 0.04760902631597771), (0.5, 0.769819245571672), (1.0, 1.5875269855857574)],
)
def test_nt_xent_equals_golden_values_of_three_pairs(temperature, golden):
    z_a, z_b = _sine_views(6, 4, 1, 1)
    assert nt_xent(z_a, z_b, temperature=temperature).loss.item() == pytest.approx(
        golden, rel=1e-12
    )


def test_nt_xent_equals_golden_value_of_eight_pairs():
    z_a, z_b = _sine_views(16, 8, 0.7, 0.3)
    loss = nt_xent(z_a, z_b, temperature=0.1).loss.item()
    assert loss == pytest.approx(6.570029324179276, rel=1e-12)


@pytest.mark.parametrize("n_pairs", [1, 2, 5])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_nt_xent_equals_loop_reference_in_value_and_gradient(n_pairs, temperature):
    z_a, z_b = (z.requires_grad_() for z in _random_views(n_pairs, 3))
    a, b = z_a.tolist(), z_b.tolist()

    loss = nt_xent(z_a, z_b, temperature=temperature).loss
    loss.backward()

    assert loss.item() == pytest.approx(nt_xent_loops(a, b, temperature), rel=1e-12, abs=1e-14)
    gradient_a = numeric_gradient(lambda rows: nt_xent_loops(rows, b, temperature), a)
    gradient_b = numeric_gradient(lambda rows: nt_xent_loops(a, rows, temperature), b)
    for z, gradient in ((z_a, gradient_a), (z_b, gradient_b)):
        expected = torch.tensor(gradient, dtype=torch.float64)
        torch.testing.assert_close(z.grad, expected, rtol=1e-6, atol=1e-7)


def test_mean_convention_is_half_the_reference():
    z_a, z_b = _random_views(5, 3)
    mean = nt_xent(z_a, z_b, temperature=0.1, convention="mean").loss
    assert mean.item() == pytest.approx(nt_xent(z_a, z_b, temperature=0.1).loss.item() / 2)


def test_nt_xent_is_symmetric_in_the_views():
    z_a, z_b = _random_views(6, 4)
    there = nt_xent(z_a, z_b, temperature=0.1).loss
    torch.testing.assert_close(nt_xent(z_b, z_a, temperature=0.1).loss, there)


def test_nt_xent_is_invariant_to_batch_order():
    z_a, z_b = _random_views(6, 4)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = nt_xent(z_a[order], z_b[order], temperature=0.1)
    torch.testing.assert_close(shuffled, nt_xent(z_a, z_b, temperature=0.1))


def test_nt_xent_ignores_the_length_of_projections():
    z_a, z_b = _random_views(6, 4)
    loss = nt_xent(z_a, z_b, temperature=0.1).loss
    torch.testing.assert_close(nt_xent(7 * z_a, z_b / 3, temperature=0.1).loss, loss)


def test_nt_xent_is_lower_when_positives_align():
    z_a, z_b = _random_views(6, 4)
    apart = nt_xent(z_a, z_b, temperature=0.5).loss
    assert nt_xent(z_a, z_a + 0.5 * z_b, temperature=0.5).loss < apart


def test_zero_projection_gives_finite_loss_and_gradient():
    z_a = torch.zeros(3, 4, requires_grad=True)
    loss = nt_xent(z_a, torch.ones(3, 4), temperature=0.1).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(z_a.grad).all()


def test_nt_xent_is_float32_under_bfloat16_autocast():
    z_a, z_b = (z.bfloat16() for z in _random_views(6, 4))
    outside = nt_xent(z_a.double(), z_b.double(), temperature=0.1).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = nt_xent(z_a, z_b, temperature=0.1)
    assert {figure.dtype for figure in inside} == {torch.float32}
    assert inside.loss.item() == pytest.approx(outside.item(), rel=1e-5)


def test_accuracy_counts_rows_whose_partner_is_nearest():
    z_a = torch.eye(4)
    z_b = torch.eye(4)[[0, 1, 3, 2]]
    assert nt_xent(z_a, z_b, temperature=0.1).accuracy.item() == 0.5


def test_entropy_of_equal_similarities_is_log_n():
    figures = nt_xent(torch.ones(5, 3), torch.ones(5, 3), temperature=0.1)
    assert figures.entropy.item() == pytest.approx(math.log(5))


def test_accuracy_and_entropy_are_detached():
    z_a, z_b = (z.requires_grad_() for z in _random_views(3, 4))
    figures = nt_xent(z_a, z_b, temperature=0.1)
    assert figures.loss.requires_grad
    assert not figures.accuracy.requires_grad
    assert not figures.entropy.requires_grad
