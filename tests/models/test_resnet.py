import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medsimclr.errors import ConfigError
from medsimclr.models.batch_norm import BatchNorm
from medsimclr.models.initial_weights import conv
from medsimclr.models.resnet import ResNet, stem_for


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(n_images: int, view_px: int) -> torch.Tensor:
    return torch.rand(n_images, 3, view_px, view_px, generator=_seeded(1))


def _n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("depth", "width", "selective_kernels", "stem", "n_parameters"),
    [
        (18, 1, False, "standard", 11_180_736),
        (34, 1, False, "standard", 21_288_896),
        (50, 1, False, "standard", 23_508_032),
        (50, 1, True, "standard", 35_215_584),
        (50, 2, False, "standard", 93_907_072),
        (50, 2, True, "standard", 140_306_048),
        (101, 1, False, "standard", 42_500_160),
        (101, 1, True, "standard", 64_662_304),
        (101, 2, True, "standard", 257_132_224),
        (152, 1, False, "standard", 58_143_808),
        (152, 1, True, "standard", 88_940_896),
        (152, 2, True, "standard", 353_398_528),
        (152, 3, True, "standard", 794_704_160),
        (18, 1, False, "small", 11_173_056),
        (34, 1, False, "small", 21_281_216),
        (50, 1, False, "small", 23_500_352),
        (50, 1, True, "small", 35_188_672),
    ],
)
def test_parameter_count_equals_the_reference(depth, width, selective_kernels, stem, n_parameters):
    with torch.device("meta"):
        encoder = ResNet(depth=depth, width=width, selective_kernels=selective_kernels, stem=stem)
    assert encoder.feature_dim == (2048 if depth >= 50 else 512) * width
    assert _n_parameters(encoder) == n_parameters


def test_depth_200_has_66_bottlenecks():
    with torch.device("meta"):
        encoder = ResNet(depth=200)
    n_convs = sum(isinstance(m, nn.Conv2d) for m in encoder.modules())
    assert n_convs == 1 + 3 * (3 + 24 + 36 + 3) + 4


@pytest.mark.parametrize(("view_px", "stem"), [(32, "small"), (33, "standard"), (224, "standard")])
def test_views_of_32_px_or_less_take_the_small_stem(view_px, stem):
    assert stem_for(view_px) == stem


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


@pytest.mark.parametrize("selective_kernels", [False, True])
@pytest.mark.parametrize(("depth", "last"), [(18, "bn2"), (50, "bn3")])
def test_gamma_starts_at_zero_in_the_last_batch_norm_of_a_branch_alone(
    depth, last, selective_kernels
):
    encoder = ResNet(depth=depth, selective_kernels=selective_kernels)
    for name, module in encoder.named_modules():
        if isinstance(module, BatchNorm):
            expected = 0.0 if name.endswith(f"branch.{last}") else 1.0
            assert (module.weight == expected).all(), name
            assert (module.bias == 0).all(), name
            assert (module.running_mean == 0).all(), name
            assert (module.running_var == 1).all(), name


@pytest.mark.parametrize("depth", [18, 50])
def test_convolutions_are_truncated_normal_with_variance_one_over_fan_in(depth):
    encoder = ResNet(depth=depth, selective_kernels=True, generator=_seeded(0))
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach().flatten()
            std = math.sqrt(1 / module.weight[0].numel())
            # Five standard errors of a mean and of a deviation, somewhat over those of a normal.
            five_errors = 5 / math.sqrt(weight.numel())
            assert abs(weight.mean().item()) < five_errors * std, name
            assert weight.std().item() == pytest.approx(std, rel=five_errors), name
            # Cut at two deviations of the normal, which keeps 0.8796 of its deviation.
            cut = 2 * std / 0.87962566
            assert weight.abs().max().item() <= cut * (1 + 1e-6), name
            assert weight.abs().max().item() > 0.9 * cut, name
            # Inside, a normal: a share erf(1/sqrt2) / erf(sqrt2) lies within half the cut.
            share = (weight.abs() < cut / 2).double().mean().item()
            assert share == pytest.approx(0.68269 / 0.95450, abs=five_errors / 2), name


def test_same_seed_gives_same_weights_and_another_seed_others():
    first, second, other = (
        ResNet(depth=18, generator=_seeded(seed)).state_dict() for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    convs = [key for key in first if first[key].dim() == 4]
    assert not any(torch.equal(first[key], other[key]) for key in convs)


def test_weights_are_drawn_in_the_order_of_construction():
    # Behind the small stem the variant only pools in its shortcuts, which draws nothing.
    plain, selective = (
        ResNet(depth=18, stem="small", selective_kernels=is_selective, generator=_seeded(0))
        for is_selective in (False, True)
    )
    for (name, weight), other in zip(plain.named_parameters(), selective.parameters(), strict=True):
        assert torch.equal(weight, other), name


def test_construction_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    ResNet(depth=18)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("selective_kernels", [False, True])
def test_channels_last_gives_the_same_features(depth, selective_kernels):
    encoder = ResNet(depth=depth, selective_kernels=selective_kernels, generator=_seeded(0)).eval()
    image = _images(2, 40)
    with torch.no_grad():
        expected = encoder(image)
        encoder = encoder.to(memory_format=torch.channels_last)
        features = encoder(image.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("selective_kernels", [False, True])
def test_bfloat16_autocast_trains_near_float32(selective_kernels):
    encoder = ResNet(
        depth=18, stem="small", selective_kernels=selective_kernels, generator=_seeded(0)
    )
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


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (3, 8, 8), (2, 3, 0, 8), (2, 8, 8, 3)])
def test_what_is_no_batch_of_images_is_refused(shape):
    with pytest.raises(ConfigError, match=r"\(batch, 3, height, width\) of 1 px or more, got"):
        ResNet(depth=18)(torch.zeros(shape))


@pytest.mark.parametrize("selective_kernels", [False, True])
@pytest.mark.parametrize("size_hw", [(1, 1), (2, 3), (31, 1), (19, 45)])
def test_any_size_from_one_pixel_on_trains(size_hw, selective_kernels):
    encoder = ResNet(depth=50, selective_kernels=selective_kernels, generator=_seeded(0))
    features = encoder(torch.rand(4, 3, *size_hw, generator=_seeded(1)))
    features.sum().backward()
    assert features.shape == (4, 2048)
    assert torch.isfinite(features).all()
