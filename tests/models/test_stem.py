import pytest
import torch
from torch import nn

from medsimclr.models.stem import SameMaxPool, resnet_d_stem, small_stem, standard_stem
from tests.references.same_max_pool import same_max_pool_loops


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size_hw", [(8, 8), (7, 7), (8, 7), (5, 2), (1, 1), (3, 1)])
def test_max_pool_equals_loop_reference_of_same_padding(size_hw):
    value = -1 - torch.rand(1, 1, *size_hw, generator=_seeded(0))
    expected = torch.tensor(same_max_pool_loops(value[0, 0].tolist()))
    assert torch.equal(SameMaxPool()(value)[0, 0], expected)


@pytest.mark.parametrize(
    ("build", "view_px", "map_px"),
    [
        (standard_stem, 64, 16),
        (standard_stem, 63, 16),
        (standard_stem, 65, 17),
        (resnet_d_stem, 64, 16),
        (resnet_d_stem, 65, 17),
        (resnet_d_stem, 1, 1),
        (small_stem, 33, 33),
    ],
)
def test_stem_shrinks_by_four_or_not_at_all(build, view_px, map_px):
    stem = build(64, generator=_seeded(0)).eval()
    with torch.no_grad():
        assert stem(torch.rand(1, 3, view_px, view_px)).shape == (1, 64, map_px, map_px)


def test_resnet_d_stem_has_half_the_channels_until_its_last_convolution():
    convs = [m for m in resnet_d_stem(128, generator=_seeded(0)) if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.stride[0]) for m in convs] == [
        (3, 64, 2),
        (64, 64, 1),
        (64, 128, 1),
    ]
