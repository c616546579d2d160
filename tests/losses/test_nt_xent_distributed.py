"""Real processes give the loss and gradients of one process on the joined batch."""

import pytest
import torch

from medsimclr.losses import nt_xent_blocks
from medsimclr.losses.nt_xent import nt_xent

N_PAIRS = 12
# The second is askew to the rows of every process.
WAYS = [
    ("whole", 512, "reference"),
    ("whole", 512, "mean"),
    ("blocks", 5, "reference"),
    ("blocks", 5, "mean"),
    ("blocks", 512, "reference"),
]


def _views() -> list[torch.Tensor]:
    z_a = torch.randn(N_PAIRS, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z_b = torch.randn(N_PAIRS, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z_b = z_a + z_b
    # Rows that are alike: the first of them is the nearest, on whichever process.
    z_b[[3, 10]] = z_a[7].clone()
    return [z_a, z_b]


def _shares(group, views):
    """Return figures and own gradients of each way to compute them."""
    shares = []
    for method, block_rows, convention in WAYS:
        nt_xent_blocks._BLOCK_ROWS_CPU = block_rows
        z_a, z_b = (z.chunk(group.size)[group.rank].clone().requires_grad_() for z in views)
        figures = nt_xent(
            z_a, z_b, temperature=0.2, convention=convention, group=group, method=method
        )
        figures.loss.backward()
        shares.append((torch.stack(list(figures)).detach(), z_a.grad, z_b.grad))
    return shares


@pytest.mark.parametrize("size", [1, 2, 4])
def test_processes_equal_one_process_on_the_joined_batch(processes, size):
    shares = processes.run(_shares, _views(), size=size)
    for (_, _, convention), of_one_way in zip(WAYS, zip(*shares, strict=True), strict=True):
        z_a, z_b = (z.requires_grad_() for z in _views())
        joined = nt_xent(z_a, z_b, temperature=0.2, convention=convention, method="whole")
        joined.loss.backward()
        figures, gradients_a, gradients_b = zip(*of_one_way, strict=True)
        close = {"rtol": 1e-8, "atol": 1e-10}
        torch.testing.assert_close(sum(figures), torch.stack(list(joined)).detach(), **close)
        torch.testing.assert_close(torch.cat(gradients_a), z_a.grad, **close)
        torch.testing.assert_close(torch.cat(gradients_b), z_b.grad, **close)
