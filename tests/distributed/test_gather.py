import pytest
import torch

from medsimclr.distributed.gather import gather_with_gradient
from medsimclr.distributed.group import Group

_ROWS_ND = torch.linspace(-1, 2, 24, dtype=torch.float64).reshape(8, 3)


def _share(rows_ND: torch.Tensor, group: Group) -> torch.Tensor:
    """A share of a loss in which every process weighs every row, and differently."""
    n_rows = len(rows_ND) // group.size
    own_nD = rows_ND.narrow(0, group.rank * n_rows, n_rows)
    return (own_nD @ rows_ND.T).pow(3).sum()


def _gradient(group):
    n_rows = len(_ROWS_ND) // group.size
    own_nD = _ROWS_ND.narrow(0, group.rank * n_rows, n_rows).clone().requires_grad_()
    rows_ND = gather_with_gradient(own_nD, group)
    (grad_nD,) = torch.autograd.grad(_share(rows_ND, group), own_nD)
    return rows_ND.detach(), grad_nD


@pytest.mark.parametrize("size", [1, 2, 4])
def test_gathered_rows_get_the_gradient_of_the_whole_loss(processes, size):
    rows_ND = _ROWS_ND.clone().requires_grad_()
    _share(rows_ND, Group()).backward()
    results = processes.run(_gradient, size=size)
    assert all(torch.equal(gathered, _ROWS_ND) for gathered, _ in results)
    torch.testing.assert_close(
        torch.cat([grad_nD for _, grad_nD in results]), rows_ND.grad, rtol=1e-12, atol=1e-12
    )
