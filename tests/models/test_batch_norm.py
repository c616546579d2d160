from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from medsimclr.models.batch_norm import BatchNorm, frozen_statistics, unmoved_statistics


def _values(*shape: int) -> torch.Tensor:
    return 1 + 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(8, 3), (4, 3, 2, 5)])
def test_running_variance_averages_the_biased_variance(shape):
    norm, value = BatchNorm(3), _values(*shape)
    axes = [axis for axis in range(len(shape)) if axis != 1]
    norm(value)
    norm(value)
    expected_var = 0.81 + 0.19 * value.var(dim=axes, correction=0)
    torch.testing.assert_close(norm.running_var, expected_var)
    torch.testing.assert_close(norm.running_mean, 0.19 * value.mean(dim=axes))


@pytest.mark.parametrize("shape", [(8, 3), (4, 3, 2, 5)])
def test_training_output_and_gradient_equal_the_formula(shape):
    norm = BatchNorm(3).double()
    value = _values(*shape).double().requires_grad_()
    axes = [axis for axis in range(len(shape)) if axis != 1]
    weight = torch.linspace(-1, 1, value.numel(), dtype=torch.float64).reshape(shape)

    (norm(value) * weight).sum().backward()
    plain = value.detach().requires_grad_()
    variance = plain.var(dim=axes, correction=0, keepdim=True)
    output = (plain - plain.mean(dim=axes, keepdim=True)) / (variance + 1e-5).sqrt()
    (output * weight).sum().backward()

    torch.testing.assert_close(norm(value), output)
    torch.testing.assert_close(value.grad, plain.grad)


def test_inference_uses_running_statistics_and_leaves_them():
    norm = BatchNorm(3)
    norm(_values(8, 3))
    norm.eval()
    before = norm.running_var.clone()
    value = _values(5, 3)
    expected = (value - norm.running_mean) / (before + 1e-5).sqrt()
    torch.testing.assert_close(norm(value), expected)
    assert torch.equal(norm.running_var, before)


def test_two_passes_can_be_differentiated_together():
    norm, value = BatchNorm(3), _values(8, 3).requires_grad_()
    (norm(value).pow(3).sum() + norm(2 * value).pow(3).sum()).backward()
    assert torch.isfinite(value.grad).all()


def test_layer_without_beta_keeps_gamma():
    assert [name for name, _ in BatchNorm(3, has_beta=False).named_parameters()] == ["weight"]


def test_sequence_input_is_refused():
    with pytest.raises(ValueError, match=r"expected \(B, C\) or \(B, C, H, W\), got shape"):
        BatchNorm(3)(torch.zeros(2, 3, 4))


def test_unmoved_pass_gives_the_same_bits_and_moves_nothing():
    norm, value = BatchNorm(3), _values(8, 3).requires_grad_()
    state = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    with unmoved_statistics(nn.Sequential(norm)):
        unmoved = norm(value)
    after = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    (unmoved_grad,) = torch.autograd.grad(unmoved.pow(3).sum(), value)
    moved = norm(value)
    (moved_grad,) = torch.autograd.grad(moved.pow(3).sum(), value)
    assert all(torch.equal(after[name], tensor) for name, tensor in state.items())
    assert torch.equal(unmoved, moved)
    assert torch.equal(unmoved_grad, moved_grad)
    assert norm.num_batches_tracked == 1


def test_checkpointed_network_moves_its_statistics_once():
    plain, checkpointed = BatchNorm(3), BatchNorm(3)
    value = _values(4, 3, 2, 5).requires_grad_()
    plain(value).pow(3).sum().backward()
    expected, value.grad = value.grad, None
    checkpoint(
        checkpointed,
        value,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), unmoved_statistics(checkpointed)),
    ).pow(3).sum().backward()
    assert torch.equal(value.grad, expected)
    assert torch.equal(checkpointed.running_mean, plain.running_mean)
    assert torch.equal(checkpointed.running_var, plain.running_var)
    assert checkpointed.num_batches_tracked == 1


def test_unmoved_statistics_can_be_nested_and_end_after_an_error():
    norm = BatchNorm(3)
    with unmoved_statistics(norm):
        with pytest.raises(ValueError, match="expected"), unmoved_statistics(norm):
            norm(torch.zeros(2, 3, 4))
        assert not norm.moves_statistics
    assert norm.moves_statistics


def test_frozen_statistics_are_those_of_inference_with_gradient():
    norm, value = BatchNorm(3), _values(8, 3).requires_grad_()
    norm(_values(8, 3) + 1)
    network = nn.Sequential(norm).train()
    with frozen_statistics(network):
        output = network(value)
    assert network.training
    assert norm.training
    assert torch.equal(output, norm.eval()(value))
    (grad,) = torch.autograd.grad(output.sum(), value)
    torch.testing.assert_close(grad, (norm.running_var + 1e-5).rsqrt().expand_as(grad))
