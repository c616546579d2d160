import pytest
import torch


def _collectives(group):
    value = torch.tensor([group.rank + 1.0])
    group.wait()
    return group, group.sum(value), group.gather(torch.full((2, 3), group.rank)), value


@pytest.mark.parametrize("size", [1, 2, 4])
def test_sum_and_gather_of_real_processes(processes, size):
    for rank, (group, total, rows, value) in enumerate(processes.run(_collectives, size=size)):
        assert (group.rank, group.size, group.is_main) == (rank, size, rank == 0)
        assert total == size * (size + 1) / 2
        assert rows.tolist() == [[other] * 3 for other in range(size) for _ in range(2)]
        assert value == rank + 1, "the summand stays"
