import pytest
import torch
from torch import nn

from medsimclr.models.blocks import Block, ShortcutPool
from medsimclr.models.selective_kernel import SelectiveKernel
from tests.references.tf_layers import average_pool


def _block(**arguments: object) -> Block:
    given = {
        "stride": 2,
        "has_projection": True,
        "is_bottleneck": True,
        "selective_kernels": True,
        "generator": torch.Generator().manual_seed(0),
    }
    return Block(16, 8, **{**given, **arguments})  # type: ignore[arg-type]


def _map(*size_hw: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.rand(2, 16, *size_hw, generator=random, dtype=torch.float64)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size_hw", [(8, 8), (7, 7), (8, 7), (5, 2), (1, 1), (3, 1)])
def test_shortcut_pool_equals_reference_in_value_and_gradient(size_hw, stride):
    value, plain = _map(*size_hw).requires_grad_(), _map(*size_hw).requires_grad_()
    pooled = ShortcutPool(stride=stride)(value)
    expected = average_pool(plain.permute(0, 2, 3, 1), k=2, s=stride).permute(0, 3, 1, 2)
    torch.testing.assert_close(pooled, expected)
    pooled.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    torch.testing.assert_close(value.grad, plain.grad)


def test_padding_counts_in_the_mean_at_stride_2_alone():
    ones = torch.ones(1, 1, 3, 3)
    assert ShortcutPool(stride=1)(ones).eq(1).all()
    assert ShortcutPool(stride=2)(ones)[0, 0].tolist() == [[1.0, 0.5], [0.5, 0.25]]


def test_basic_block_takes_the_pooled_shortcut_but_no_selective_kernel():
    block = _block(is_bottleneck=False)
    assert isinstance(block.shortcut[0], ShortcutPool)
    assert not any(isinstance(module, SelectiveKernel) for module in block.modules())


def test_block_without_projection_adds_its_input():
    block = Block(
        16,
        16,
        stride=1,
        has_projection=False,
        is_bottleneck=False,
        selective_kernels=True,
        generator=torch.Generator().manual_seed(0),
    ).double()
    assert isinstance(block.shortcut, nn.Identity)
    # Gamma of the branch's last batch norm starts at 0, so a new block is its shortcut.
    torch.testing.assert_close(block(_map(5, 4)), _map(5, 4))


@pytest.mark.parametrize("selective_kernels", [False, True])
def test_bottleneck_strides_on_its_3x3_and_widens_fourfold(selective_kernels):
    block = _block(selective_kernels=selective_kernels).double()
    convs = [m for m in block.branch.modules() if isinstance(m, nn.Conv2d) and m.stride[0] == 2]
    assert [m.kernel_size for m in convs] == [(3, 3)]
    assert block(_map(7, 6)).shape == (2, 32, 4, 3)
