import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medsimclr.distributed.group import SINGLE
from medsimclr.losses import nt_xent_blocks
from medsimclr.losses.nt_xent import nt_xent
from tests.references.nt_xent import contrastive_task_loops, nt_xent_loops
from tests.references.numeric_gradient import numeric_gradient


@pytest.fixture(params=["whole", "one block", "blocks of 3"])
def method(request, monkeypatch):
    """Return the methods in turn; blocks of three rows stand askew to any number of pairs."""
    if request.param == "whole":
        return "whole"
    if request.param == "blocks of 3":
        monkeypatch.setattr(nt_xent_blocks, "_BLOCK_ROWS_CPU", 3)
    return "blocks"


def _sine_views(n_rows: int, n_columns: int, scale: float, shift: float) -> list[torch.Tensor]:
    index = torch.arange(n_rows * n_columns, dtype=torch.float64).reshape(n_rows, n_columns)
    return list(torch.sin(scale * index + shift).chunk(2))


def _random_views(n_pairs: int, dim: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2 * n_pairs, dim, generator=generator, dtype=torch.float64)
    return list(z.chunk(2))


def _related_views(n_pairs: int, dim: int, *, noise: float) -> list[torch.Tensor]:
    z_a, z_b = _random_views(n_pairs, dim)
    return [z_a, z_a + noise * z_b]


def _with_gradient(z_a, z_b, **settings):
    """Return the figures and the gradient by both views."""
    z_a, z_b = z_a.clone().requires_grad_(), z_b.clone().requires_grad_()
    figures = nt_xent(z_a, z_b, **settings)
    figures.loss.backward()
    return figures, torch.cat([z_a.grad, z_b.grad])


@pytest.mark.parametrize(
    ("temperature", "golden"),
    [(0.1, 0.04760902631597771), (0.5, 0.769819245571672), (1.0, 1.5875269855857574)],
)
def test_nt_xent_equals_golden_values_of_three_pairs(temperature, golden, method):
    z_a, z_b = _sine_views(6, 4, 1, 1)
    loss = nt_xent(z_a, z_b, temperature=temperature, method=method).loss
    assert loss.item() == pytest.approx(golden, rel=1e-12)


def test_nt_xent_equals_golden_value_of_eight_pairs(method):
    z_a, z_b = _sine_views(16, 8, 0.7, 0.3)
    loss = nt_xent(z_a, z_b, temperature=0.1, method=method).loss.item()
    assert loss == pytest.approx(6.570029324179276, rel=1e-12)


@pytest.mark.parametrize("n_pairs", [1, 2, 5])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_nt_xent_equals_loop_reference_in_value_and_gradient(n_pairs, temperature, method):
    z_a, z_b = _random_views(n_pairs, 3)
    a, b = z_a.tolist(), z_b.tolist()

    figures, gradient = _with_gradient(z_a, z_b, temperature=temperature, method=method)

    expected = nt_xent_loops(a, b, temperature)
    assert figures.loss.item() == pytest.approx(expected, rel=1e-12, abs=1e-14)
    accuracy, entropy = contrastive_task_loops(a, b, temperature)
    assert figures.accuracy.item() == pytest.approx(accuracy)
    assert figures.entropy.item() == pytest.approx(entropy, rel=1e-12, abs=1e-14)
    gradient_a = numeric_gradient(lambda rows: nt_xent_loops(rows, b, temperature), a)
    gradient_b = numeric_gradient(lambda rows: nt_xent_loops(a, rows, temperature), b)
    expected = torch.tensor(gradient_a + gradient_b, dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(
    n_pairs=st.integers(1, 13),
    block_rows=st.integers(1, 30),
    temperature=st.sampled_from([0.01, 0.1, 0.5, 1.0, 100.0]),
    noise=st.sampled_from([0.0, 0.1, 10.0]),
    convention=st.sampled_from(["reference", "mean"]),
)
def test_blocks_equal_whole_in_float64(n_pairs, block_rows, temperature, noise, convention):
    z_a, z_b = _related_views(n_pairs, 5, noise=noise)
    how = {"temperature": temperature, "convention": convention}
    whole, gradient = _with_gradient(z_a, z_b, **how, method="whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nt_xent_blocks, "_BLOCK_ROWS_CPU", block_rows)
        blocks, blocks_gradient = _with_gradient(z_a, z_b, **how, method="blocks")
    # As much as whole keeps: it takes 1 - softmax by a difference.
    close = {"rtol": 1e-10, "atol": 1e-13 / min(temperature, 1)}
    torch.testing.assert_close(tuple(blocks), tuple(whole), **close)
    torch.testing.assert_close(blocks_gradient, gradient, **close)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("noise", [0.05, 1.0])
@pytest.mark.parametrize("n_pairs", [2, 600])
def test_float32_gradient_in_blocks_is_exact_to_1e_5(n_pairs, temperature, noise):
    z_a, z_b = (z.float() for z in _related_views(n_pairs, 128, noise=noise))
    how = {"temperature": temperature}
    figures, gradient = _with_gradient(z_a, z_b, **how, method="blocks")
    exact, exact_gradient = _with_gradient(z_a.double(), z_b.double(), **how, method="whole")
    error = (gradient - exact_gradient).abs().max() / exact_gradient.abs().max()
    assert error < 1e-5
    assert figures.loss.item() == pytest.approx(exact.loss.item(), rel=1e-5)
    assert figures.accuracy.item() == pytest.approx(exact.accuracy.item())
    assert figures.entropy.item() == pytest.approx(exact.entropy.item(), rel=1e-5, abs=1e-6)


def test_gradient_of_blocks_passes_gradcheck():
    unit_RD = torch.cat(_random_views(4, 3)).requires_grad_()

    def loss(unit_RD):
        return nt_xent_blocks.nt_xent_in_blocks(
            unit_RD, temperature=0.5, group=SINGLE, block_rows=3
        )[0]

    assert torch.autograd.gradcheck(loss, unit_RD)


def test_blocks_cannot_be_differentiated_twice():
    z_a, z_b = (z.requires_grad_() for z in _random_views(3, 4))
    loss = nt_xent(z_a, z_b, temperature=0.1, method="blocks").loss
    with pytest.raises(RuntimeError, match="cannot be differentiated twice; method 'whole' can"):
        torch.autograd.grad(loss, z_a, create_graph=True)


def test_auto_takes_blocks_for_large_batches_only(monkeypatch):
    asked = []

    def spy(unit_RD, *, temperature, group):
        asked.append(len(unit_RD) // 2)
        return (unit_RD.sum(),) * 3

    monkeypatch.setattr("medsimclr.losses.nt_xent.nt_xent_in_blocks", spy)
    for n_pairs in (2, 64, 4096):
        nt_xent(torch.ones(n_pairs, 1), torch.ones(n_pairs, 1), temperature=0.1)
    assert asked == [4096]


def test_mean_convention_is_half_the_reference(method):
    z_a, z_b = _random_views(5, 3)
    mean, mean_gradient = _with_gradient(
        z_a, z_b, temperature=0.1, convention="mean", method=method
    )
    both, gradient = _with_gradient(z_a, z_b, temperature=0.1, method=method)
    assert mean.loss.item() == pytest.approx(both.loss.item() / 2)
    torch.testing.assert_close(mean_gradient, gradient / 2)


def test_nt_xent_is_symmetric_in_the_views(method):
    z_a, z_b = _random_views(6, 4)
    there = nt_xent(z_a, z_b, temperature=0.1, method=method).loss
    torch.testing.assert_close(nt_xent(z_b, z_a, temperature=0.1, method=method).loss, there)


def test_nt_xent_is_invariant_to_batch_order(method):
    z_a, z_b = _random_views(6, 4)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = nt_xent(z_a[order], z_b[order], temperature=0.1, method=method)
    torch.testing.assert_close(shuffled, nt_xent(z_a, z_b, temperature=0.1, method=method))


@pytest.mark.parametrize("scale", [1e-4, 7.0, 1e15])
def test_nt_xent_ignores_the_length_of_projections(scale, method):
    z_a, z_b = (z.float() for z in _random_views(6, 4))
    plain = nt_xent(z_a, z_b, temperature=0.1, method=method)
    scaled = nt_xent(scale * z_a, z_b / 3, temperature=0.1, method=method)
    torch.testing.assert_close(scaled, plain)


def test_nt_xent_is_lower_when_positives_align(method):
    z_a, z_b = _random_views(6, 4)
    apart = nt_xent(z_a, z_b, temperature=0.5, method=method).loss
    assert nt_xent(z_a, z_a + 0.5 * z_b, temperature=0.5, method=method).loss < apart


def test_zero_projections_give_finite_loss_and_gradient(method):
    figures, gradient = _with_gradient(
        torch.zeros(3, 4), torch.ones(3, 4), temperature=0.1, method=method
    )
    assert torch.isfinite(figures.loss)
    assert torch.isfinite(gradient).all()


def test_only_zero_projections_are_all_alike(method):
    figures, _ = _with_gradient(
        torch.zeros(3, 4), torch.zeros(3, 4), temperature=0.1, method=method
    )
    assert figures.loss.item() == pytest.approx(2 * math.log(5))


def test_one_pair_has_no_negatives(method):
    figures, gradient = _with_gradient(*_random_views(1, 4), temperature=0.1, method=method)
    assert figures.loss.item() == pytest.approx(0, abs=1e-14)
    assert gradient.abs().max() < 1e-14
    assert (figures.accuracy, figures.entropy) == (1, 0)


@pytest.mark.parametrize("temperature", [0.001, 0.01])
def test_low_temperature_is_finite_where_positives_oppose(temperature, method):
    z_a = torch.eye(6)
    figures, gradient = _with_gradient(z_a, -z_a, temperature=temperature, method=method)
    assert figures.loss.item() == pytest.approx(2 * (1 / temperature + math.log(10)), rel=1e-5)
    assert torch.isfinite(gradient).all()


def test_a_value_that_is_not_a_number_reaches_the_loss(method):
    z_a, z_b = _random_views(6, 4)
    z_a[2, 1] = math.nan
    assert torch.isnan(nt_xent(z_a, z_b, temperature=0.1, method=method).loss)


def test_nt_xent_is_float32_under_bfloat16_autocast(method):
    z_a, z_b = (z.bfloat16() for z in _random_views(6, 4))
    outside = nt_xent(z_a.double(), z_b.double(), temperature=0.1, method="whole").loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = nt_xent(z_a, z_b, temperature=0.1, method=method)
    assert {figure.dtype for figure in inside} == {torch.float32}
    assert inside.loss.item() == pytest.approx(outside.item(), rel=1e-5)


def test_gradient_of_blocks_is_float32_under_bfloat16_autocast():
    views = [z.float() for z in _random_views(6, 4)]
    _, outside = _with_gradient(*views, temperature=0.1, method="blocks")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, inside = _with_gradient(*views, temperature=0.1, method="blocks")
    assert torch.equal(inside, outside)


def test_accuracy_counts_rows_whose_partner_is_nearest(method):
    z_a = torch.eye(4)
    z_b = torch.eye(4)[[0, 1, 3, 2]]
    assert nt_xent(z_a, z_b, temperature=0.1, method=method).accuracy.item() == 0.5


def test_a_collapsed_network_is_right_by_chance_only(method):
    figures = nt_xent(torch.ones(8, 4), torch.ones(8, 4), temperature=0.1, method=method)
    assert figures.accuracy.item() == 1 / 8


def test_of_equally_similar_rows_the_first_is_taken(method):
    z_a, z_b = torch.eye(8), torch.eye(8)
    z_a[7], z_b[7] = z_b[0], z_b[1]
    assert nt_xent(z_a, z_b, temperature=0.1, method=method).accuracy.item() == 7 / 8


def test_entropy_of_equal_similarities_is_log_n(method):
    figures = nt_xent(torch.ones(5, 4), torch.ones(5, 4), temperature=0.1, method=method)
    assert figures.entropy.item() == pytest.approx(math.log(5))


def test_accuracy_and_entropy_are_detached(method):
    z_a, z_b = (z.requires_grad_() for z in _random_views(3, 4))
    figures = nt_xent(z_a, z_b, temperature=0.1, method=method)
    assert figures.loss.requires_grad
    assert not figures.accuracy.requires_grad
    assert not figures.entropy.requires_grad
