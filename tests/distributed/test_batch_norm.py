"""BatchNorm of R processes against one BatchNorm of one process on the joined batch."""

import pytest
import torch
from torch import nn

from medsimclr.distributed.batch_norm import joined_batch_norm
from medsimclr.distributed.group import Group
from medsimclr.models.batch_norm import BatchNorm, synchronise_batch_norm, unmoved_statistics

_EXACT = {"rtol": 1e-8, "atol": 1e-10}


def _values(*shape: int, mean: float = 1, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return mean + 2 * drawn * torch.arange(1, shape[0] + 1).view(-1, *[1] * (len(shape) - 1))


def _passed(group, value, *, has_beta=True, counts=None):
    """Two steps of a layer on this process's rows; what comes out, without the joined batch."""
    norm = BatchNorm(value.shape[1], has_beta=has_beta).to(value.dtype)
    synchronise_batch_norm(nn.Sequential(norm), group)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-1, 2, value.shape[1]))
    counts = counts or [len(value) // group.size] * group.size
    own = value.split(counts)[group.rank].detach().requires_grad_()
    # Every value has a gradient of its own, which depends on the output and on the row.
    factor = torch.arange(value.numel()).to(value.dtype).reshape(value.shape).split(counts)
    for _ in range(2):
        output = norm(own)
        (output.pow(3) * factor[group.rank].cos()).sum().backward()
    gradients = {name: parameter.grad for name, parameter in norm.named_parameters()}
    return output.detach(), own.grad, gradients, norm.state_dict()


def _check(results, expected, **tolerance):
    output, gradient, gradients, state = expected
    torch.testing.assert_close(torch.cat([result[0] for result in results]), output, **tolerance)
    torch.testing.assert_close(torch.cat([result[1] for result in results]), gradient, **tolerance)
    for name, of_joined in gradients.items():
        shares = torch.stack([result[2][name] for result in results])
        torch.testing.assert_close(shares.sum(dim=0), of_joined, **tolerance)
    for result in results:
        assert result[3].keys() == state.keys()
        for name, of_joined in state.items():
            torch.testing.assert_close(result[3][name], of_joined, **tolerance)
            assert torch.equal(result[3][name], results[0][3][name]), "equal bits everywhere"


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("shape", [(4, 3), (8, 3), (4, 3, 2, 5), (4, 3, 1, 1)])
def test_joined_batch_is_that_of_one_process(processes, size, shape):
    value = _values(*shape)
    _check(processes.run(_passed, value, size=size), _passed(Group(), value), **_EXACT)


def _passed_without_beta(group, value):
    return _passed(group, value, has_beta=False)


def test_layer_without_beta(processes):
    value = _values(4, 3, 2, 5)
    expected = _passed_without_beta(Group(), value)
    assert list(expected[2]) == ["weight"]
    _check(processes.run(_passed_without_beta, value, size=2), expected, **_EXACT)


def _passed_unequal(group, value):
    return _passed(group, value, counts=[1, 5] if group.size == 2 else None)


def test_processes_may_hold_different_numbers_of_rows(processes):
    value = _values(6, 3, 2, 5)
    expected = _passed_unequal(Group(), value)
    _check(processes.run(_passed_unequal, value, size=2), expected, **_EXACT)


def test_channels_last_stays_channels_last(processes):
    value = _values(4, 6, 3, 5).to(memory_format=torch.channels_last)
    results = processes.run(_passed, value, size=2)
    _check(results, _passed(Group(), value), **_EXACT)
    for output, gradient, *_ in results:
        assert output.is_contiguous(memory_format=torch.channels_last)
        assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_large_mean_does_not_cancel(processes):
    # In float32 a sum of squares of values near 10,000 has no digit left of a variance near 10.
    value = _values(8, 3, 4, 4, mean=1e4, dtype=torch.float32)
    dims = (0, 2, 3)
    for _, _, _, state in processes.run(_passed, value, size=4):
        expected = 0.81 + 0.19 * value.double().var(dims, correction=0)
        torch.testing.assert_close(state["running_var"].double(), expected, rtol=1e-4, atol=0)


def _autocast(group, image):
    generator = torch.Generator().manual_seed(1)
    conv = nn.Conv2d(3, 8, 3, bias=False)
    with torch.no_grad():
        conv.weight.normal_(generator=generator)
    norm = BatchNorm(8)
    synchronise_batch_norm(norm, group)
    own = image.split(len(image) // group.size)[group.rank].detach().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = norm(conv(own))
    (output.float() * torch.linspace(0, 1, output[0].numel()).view_as(output[0])).sum().backward()
    assert output.dtype == torch.bfloat16
    assert norm.weight.grad is not None
    assert norm.weight.grad.dtype == norm.running_var.dtype == torch.float32
    return output.detach(), own.grad, {"weight": norm.weight.grad}, norm.state_dict()


def test_autocast_keeps_statistics_in_float32(processes):
    image = _values(4, 3, 9, 9, dtype=torch.float32)
    results, expected = processes.run(_autocast, image, size=2), _autocast(Group(), image)
    _check(results, expected, rtol=0.03, atol=0.03)
    for result in results:
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(result[3][name], expected[3][name], rtol=1e-5, atol=1e-5)


def _unmoved(group, value):
    norm = BatchNorm(3).double()
    synchronise_batch_norm(norm, group)
    own = value.split(len(value) // group.size)[group.rank]
    with unmoved_statistics(norm):
        output = norm(own)
    state = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    return output.detach(), state, torch.equal(norm(own), output)


def test_unmoved_pass_of_a_group_moves_nothing(processes):
    for _, state, is_same in processes.run(_unmoved, _values(4, 3), size=2):
        assert state["running_mean"].tolist() == [0, 0, 0]
        assert state["running_var"].tolist() == [1, 1, 1]
        assert state["num_batches_tracked"] == 0
        assert is_same


def test_gradient_equals_numeric_gradient():
    value, weight_C = _values(4, 3).requires_grad_(), torch.tensor([0.0, 1.0, -2.0]).double()

    def normalise(value: torch.Tensor, weight_C: torch.Tensor, bias_C: torch.Tensor):
        return joined_batch_norm(value, weight_C, bias_C, eps=1e-5, group=Group())[0]

    bias_C = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(normalise, (value, weight_C.requires_grad_(), bias_C))
