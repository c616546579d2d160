"""Layers with the reference's starting weights, apart from those weights (see test_resnet)."""

import pytest
import torch
from torch.nn import functional as F

from medsimclr.models.initial_weights import conv


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 4)])
def test_no_tap_of_a_bf16_gradient_is_left_unwritten(shape):
    """Where a tap meets only padding its gradient is 0, whatever the memory held before."""
    layer = conv(64, 128, kernel_px=3, stride=2, generator=torch.Generator().manual_seed(0))
    layer = layer.to(memory_format=torch.channels_last)
    images_BCHW = torch.randn(4, 64, *shape).to(memory_format=torch.channels_last)
    for _ in range(3):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            mapped_BCHW = layer(images_BCHW)
        # Freed memory that the next allocation may get.
        for n_numbers in (layer.weight.numel() // 2, layer.weight.numel()):
            torch.full((n_numbers,), torch.nan)
        mapped_BCHW.float().square().sum().backward()
        assert layer.weight.grad.isfinite().all()
    mapped_BCHW = layer(images_BCHW)
    expected_BCHW = F.conv2d(images_BCHW, layer.weight, stride=2, padding=1)
    torch.testing.assert_close(mapped_BCHW, expected_BCHW)
