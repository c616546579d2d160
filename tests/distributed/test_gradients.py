import pytest
import torch
from torch import nn

from medsimclr.distributed.gradients import sum_gradients

_SHAPES = [(3, 2), (2, 3, 2, 2), (5,), (), (7,)]


def _parameters(rank: int) -> list[nn.Parameter]:
    """Parameters whose gradients are numbered; those of rank 1 lie otherwise in memory."""
    parameters = []
    for i, shape in enumerate(_SHAPES):
        dtype = torch.float64 if i == 4 else torch.float32
        parameter = nn.Parameter(torch.zeros(shape, dtype=dtype))
        gradient = (rank + 1) * torch.arange(parameter.numel(), dtype=dtype).reshape(shape)
        if rank == 1 and len(shape) == 4:
            gradient = gradient.to(memory_format=torch.channels_last)
        parameter.grad = gradient
        parameters.append(parameter)
    return parameters


def _summed(group, bucket_bytes):
    parameters = _parameters(group.rank)
    sum_gradients(iter(parameters), group, bucket_bytes=bucket_bytes)
    return [parameter.grad for parameter in parameters]


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("bucket_bytes", [1, 30, 2**20])
def test_every_process_gets_the_sum(processes, size, bucket_bytes):
    factor = size * (size + 1) // 2
    for gradients in processes.run(_summed, bucket_bytes, size=size):
        for gradient, own in zip(gradients, _parameters(0), strict=True):
            assert gradient.dtype == own.grad.dtype
            assert torch.equal(gradient, factor * own.grad)


def _with_missing(group):
    everywhere, somewhere, nowhere = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    everywhere.grad = torch.ones(2)
    if group.rank == 1:
        somewhere.grad = torch.full((2,), 5.0)
    sum_gradients([nowhere, somewhere, everywhere], group)
    return everywhere.grad, somewhere.grad, nowhere.grad


def test_missing_gradient_counts_as_zero_and_stays_missing_where_all_miss_it(processes):
    for everywhere, somewhere, nowhere in processes.run(_with_missing, size=2):
        assert everywhere.tolist() == [2, 2]
        assert somewhere.tolist() == [5, 5]
        assert nowhere is None


def _sent(group, bucket_bytes):
    sizes = []
    sum_ = type(group).sum_
    type(group).sum_ = lambda self, value: (sizes.append(value.nbytes), sum_(self, value))
    _summed(group, bucket_bytes)
    return sizes[1:]  # the first tells who has gradients


def test_gradients_travel_in_few_buckets_of_bounded_size(processes):
    assert processes.run(_sent, 2**20, size=2)[0] == [24 + 96 + 20 + 4, 56], "one for each dtype"
    assert processes.run(_sent, 120, size=2)[0] == [24 + 96, 20 + 4, 56]
    assert processes.run(_sent, 1, size=2)[0] == [24, 96, 20, 4, 56]
