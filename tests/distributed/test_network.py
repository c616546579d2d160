"""A whole step of R processes against one process on the joined batch, in float64."""

from hashlib import sha256

import pytest
import torch
from torch import nn

from medsimclr.distributed.gradients import sum_gradients
from medsimclr.distributed.group import Group
from medsimclr.losses.nt_xent import nt_xent
from medsimclr.models.batch_norm import synchronise_batch_norm
from medsimclr.models.projection_head import ProjectionHead
from medsimclr.models.resnet import ResNet
from medsimclr.models.simclr import SimCLR

_N_PAIRS, _VIEW_PX = 4, 8


def _network() -> SimCLR:
    network = SimCLR(ResNet(depth=18, stem="small"), ProjectionHead(in_dim=512, out_dim=16))
    generator = torch.Generator().manual_seed(2)
    for parameter in network.parameters():
        if parameter.dim() == 1:  # else the gammas that start at zero hide most of the network
            nn.init.uniform_(parameter, 0.5, 1.5, generator=generator)
    return network.double()


def _step(group: Group):
    """Loss, accuracy and entropy, gradients and statistics of a step on this process's pairs."""
    generator = torch.Generator().manual_seed(3)
    view_NCHW = [
        torch.rand(_N_PAIRS, 3, _VIEW_PX, _VIEW_PX, generator=generator, dtype=torch.float64)
        for _ in "ab"
    ]
    own_nCHW = [view.chunk(group.size)[group.rank] for view in view_NCHW]
    network = _network()
    synchronise_batch_norm(network, group)
    z_a_nD, z_b_nD = network(torch.cat(own_nCHW)).chunk(2)
    share = nt_xent(z_a_nD, z_b_nD, temperature=0.1, group=group)
    share.loss.backward()
    sum_gradients(network.parameters(), group)
    figures = group.sum(torch.stack([share.loss.detach(), share.accuracy, share.entropy]))
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    statistics = dict(network.named_buffers())
    # 90 MB from the main process are enough; the others' must be the same bits.
    tensors = [figures, *gradients.values(), *statistics.values()]
    digest = sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()
    return digest, (figures, gradients, statistics) if group.is_main else None


@pytest.mark.slow
def test_step_of_many_processes_is_that_of_one_on_the_joined_batch(processes):
    _, expected = _step(Group())
    assert all(gradient.abs().max() > 1e-3 for gradient in expected[1].values())
    for size in (1, 2, 4):
        results = processes.run(_step, size=size)
        assert len({digest for digest, _ in results}) == 1, "equal bits in all processes"
        torch.testing.assert_close(results[0][1], expected, rtol=1e-8, atol=1e-8)
