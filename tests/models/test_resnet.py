import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medsimclr.errors import ConfigError
from medsimclr.models.batch_norm import BatchNorm
from medsimclr.models.initial_weights import conv
from medsimclr.models.resnet import ResNet, _SameMaxPool, stem_for
from tests.references.same_max_pool import same_max_pool_loops


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(n_images: int, view_px: int) -> torch.Tensor:
    return torch.rand(n_images, 3, view_px, view_px, generator=_seeded(1))


def _n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("depth", "width", "stem", "feature_dim", "n_parameters"),
    [
        (18, 1, "standard", 512, 11_180_736),
        (34, 1, "standard", 512, 21_288_896),
        (50, 1, "standard", 2048, 23_508_032),
        (50, 2, "standard", 4096, 93_907_072),
        (101, 1, "standard", 2048, 42_500_160),
        (152, 1, "standard", 2048, 58_143_808),
        (18, 1, "small", 512, 11_173_056),
        (34, 1, "small", 512, 21_281_216),
        (50, 1, "small", 2048, 23_500_352),
    ],
)
def test_parameter_count_equals_the_reference(depth, width, stem, feature_dim, n_parameters):
    with torch.device("meta"):
        encoder = ResNet(depth=depth, width=width, stem=stem)
    assert encoder.feature_dim == feature_dim
    assert _n_parameters(encoder) == n_parameters


def test_depth_200_has_66_bottlenecks():
    with torch.device("meta"):
        encoder = ResNet(depth=200)
    n_convs = sum(isinstance(m, nn.Conv2d) for m in encoder.modules())
    assert n_convs == 1 + 3 * (3 + 24 + 36 + 3) + 4


@pytest.mark.parametrize(("view_px", "stem"), [(32, "small"), (33, "standard"), (224, "standard")])
def test_views_of_32_px_or_less_take_the_small_stem(view_px, stem):
    assert stem_for(view_px) == stem


@pytest.mark.parametrize("size_hw", [(8, 8), (7, 7), (8, 7), (5, 2), (1, 1), (3, 1)])
def test_max_pool_equals_loop_reference_of_same_padding(size_hw):
    value = -1 - torch.rand(1, 1, *size_hw, generator=_seeded(0))
    expected = torch.tensor(same_max_pool_loops(value[0, 0].tolist()))
    assert torch.equal(_SameMaxPool()(value)[0, 0], expected)


@pytest.mark.parametrize(
    ("stem", "view_px", "map_px"), [("standard", 64, 16), ("standard", 63, 16), ("small", 32, 32)]
)
def test_stem_shrinks_by_four_or_not_at_all(stem, view_px, map_px):
    encoder = ResNet(depth=18, stem=stem).eval()
    with torch.no_grad():
        assert encoder.stem(_images(1, view_px)).shape == (1, 64, map_px, map_px)


@pytest.mark.parametrize("view_px", [10, 11])
@pytest.mark.parametrize("kernel_px", [3, 7])
def test_strided_convolution_pads_both_sides_then_takes_valid_windows(view_px, kernel_px):
    layer = conv(3, 4, kernel_px=kernel_px, stride=2, generator=_seeded(0))
    image = _images(1, view_px)
    before = (kernel_px - 1) // 2
    after = kernel_px - 1 - before
    padded = F.pad(image, (before, after, before, after))
    expected = F.conv2d(padded, layer.weight, stride=2)
    torch.testing.assert_close(layer(image), expected, rtol=1e-4, atol=1e-5)


def test_first_block_of_every_group_has_a_projection_and_no_other():
    with torch.device("meta"):
        encoder = ResNet(depth=34)
    for group in encoder.groups:
        is_projected = [not isinstance(block.shortcut, nn.Identity) for block in group]
        assert is_projected == [True] + [False] * (len(group) - 1)


def test_bottleneck_strides_on_its_3x3():
    with torch.device("meta"):
        block = ResNet(depth=50).groups[1][0]
    strides = [m.stride[0] for m in block.branch if isinstance(m, nn.Conv2d)]
    assert strides == [1, 2, 1]


@pytest.mark.parametrize(("depth", "last"), [(18, "bn2"), (50, "bn3")])
def test_gamma_starts_at_zero_in_the_last_batch_norm_of_a_branch_alone(depth, last):
    for name, module in ResNet(depth=depth).named_modules():
        if isinstance(module, BatchNorm):
            expected = 0.0 if name.endswith(f"branch.{last}") else 1.0
            assert (module.weight == expected).all(), name
            assert (module.bias == 0).all(), name


def test_convolutions_are_truncated_normal_with_variance_one_over_fan_in():
    encoder = ResNet(depth=18, generator=_seeded(0))
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 30_000:
            std = math.sqrt(1 / module.weight[0].numel())
            assert module.weight.std().item() == pytest.approx(std, rel=0.02), name
            assert module.weight.abs().max().item() <= 2 * std / 0.8796, name


def test_same_seed_gives_same_weights_and_another_seed_others():
    first, second, other = (
        ResNet(depth=18, generator=_seeded(seed)).state_dict() for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    convs = [key for key in first if first[key].dim() == 4]
    assert not any(torch.equal(first[key], other[key]) for key in convs)


def test_construction_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    ResNet(depth=18)
    assert torch.equal(torch.get_rng_state(), before)


def test_channels_last_gives_the_same_features():
    encoder = ResNet(depth=18, generator=_seeded(0)).eval()
    image = _images(2, 40)
    with torch.no_grad():
        expected = encoder(image)
        encoder = encoder.to(memory_format=torch.channels_last)
        features = encoder(image.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_autocast_trains_near_float32():
    encoder = ResNet(depth=18, stem="small", generator=_seeded(0))
    encoder = encoder.to(memory_format=torch.channels_last)
    image = _images(4, 16).contiguous(memory_format=torch.channels_last)
    expected = encoder(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = encoder(image)
    features.float().sum().backward()
    relative_error = (features - expected).norm() / expected.norm()
    assert relative_error < 0.05
    assert {buffer.dtype for buffer in encoder.buffers()} == {torch.float32, torch.int64}
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 20}, "depth must be one of 18, 34, 50, 101, 152, 200, got 20"),
        ({"depth": 18, "width": 0}, "width must be 1 or more, got 0"),
        ({"depth": 18, "stem": "tiny"}, "stem must be one of standard, small, got 'tiny'"),
    ],
)
def test_unknown_choice_is_refused_with_the_known_ones(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ResNet(**arguments)
