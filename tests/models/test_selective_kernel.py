import math

import pytest
import torch
from torch import nn

from medsimclr.models.selective_kernel import SelectiveKernel


def _kernel(channels: int = 4, stride: int = 2) -> SelectiveKernel:
    return SelectiveKernel(channels, stride=stride, generator=torch.Generator().manual_seed(0))


def _map() -> torch.Tensor:
    return torch.rand(3, 4, 7, 6, generator=torch.Generator().manual_seed(1))


def test_output_equals_the_loops_over_channels():
    kernel, value = _kernel().double().eval(), _map().double()
    with torch.no_grad():
        kernel.mixing.conv2.weight.mul_(10)
        streams = kernel.streams(value)
        logits = kernel.mixing((streams[:, :4] + streams[:, 4:]).mean((2, 3), keepdim=True))
        mixed = kernel(value)
    assert mixed.shape == (3, 4, 4, 3)
    for b in range(3):
        for c in range(4):
            first, second = (math.exp(logits[b, i, 0, 0]) for i in (c, c + 4))
            expected = (first * streams[b, c] + second * streams[b, c + 4]) / (first + second)
            torch.testing.assert_close(mixed[b, c], expected)


@pytest.mark.parametrize(("channels", "mid"), [(64, 32), (512, 32), (1024, 64), (1536, 96)])
def test_mixing_has_a_sixteenth_of_the_channels_and_at_least_32(channels, mid):
    with torch.device("meta"):
        kernel = _kernel(channels)
    convs = [m.weight.shape for m in kernel.modules() if isinstance(m, nn.Conv2d)]
    assert convs == [
        (2 * channels, channels, 3, 3),
        (mid, channels, 1, 1),
        (2 * channels, mid, 1, 1),
    ]


def test_channels_last_stays_and_changes_nothing():
    kernel = _kernel().eval()
    expected = kernel(_map())
    mixed = kernel(_map().contiguous(memory_format=torch.channels_last))
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(mixed, expected)


def test_autocast_keeps_the_map_in_bfloat16():
    kernel = _kernel()
    # On a GPU autocast leaves softmax in float32; on a CPU it does not, so say it here.
    kernel.mixing.register_forward_hook(lambda module, inputs, logits: logits.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert kernel(_map()).dtype == torch.bfloat16
