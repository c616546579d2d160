import io
import math

import pytest
import torch
from torch import nn

from medsimclr.errors import ConfigError
from medsimclr.models.projection_head import ProjectionHead
from medsimclr.models.resnet import ResNet
from medsimclr.models.simclr import Classifier, SimCLR
from medsimclr.optim.lars import LARS, lars_groups
from tests.references.lars import LarsLoops


def _parameter(values: list[float]) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def _gradients(n_steps: int, dim: int) -> list[list[float]]:
    return [[math.sin(1 + dim * step + i) for i in range(dim)] for step in range(n_steps)]


def _step(optimiser: LARS, weight: nn.Parameter, gradient: list[float]) -> None:
    weight.grad = torch.tensor(gradient, dtype=weight.dtype)
    optimiser.step()


def test_two_steps_equal_golden_values():
    weight = _parameter([0.5, -1.0, 2.0])
    optimiser = LARS([weight], lr=0.3, weight_decay=1e-4)

    _step(optimiser, weight, [0.1, 0.2, -0.3])
    first = [0.4998160979025421, -1.000367436574531, 2.0005510629567005]
    assert weight.tolist() == pytest.approx(first, rel=1e-14)

    _step(optimiser, weight, [0.1, 0.2, -0.3])
    second = [0.4994666356591172, -1.0010656624861816, 2.0015982271803767]
    assert weight.tolist() == pytest.approx(second, rel=1e-14)


@pytest.mark.parametrize("adapt", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_ten_steps_equal_loop_reference(adapt, weight_decay):
    start = [0.5, -1.0, 2.0, 0.25]
    weight = _parameter(start)
    optimiser = LARS([weight], lr=0.3, weight_decay=weight_decay, adapt=adapt)
    reference = LarsLoops(start, lr=0.3, weight_decay=weight_decay, adapt=adapt)
    for gradient in _gradients(10, 4):
        _step(optimiser, weight, gradient)
        reference.step(gradient)
        assert weight.tolist() == pytest.approx(reference.weight, rel=1e-12)


@pytest.mark.parametrize(
    ("start", "gradient"), [([0.0, 0.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 0.0])]
)
def test_trust_is_one_where_a_norm_is_zero(start, gradient):
    weight = _parameter(start)
    _step(LARS([weight], lr=0.5), weight, gradient)
    assert weight.tolist() == [w - 0.5 * g for w, g in zip(start, gradient, strict=True)]


def test_every_parameter_of_a_group_has_its_own_trust():
    starts = [[0.5, -1.0], [20.0], [0.0, 0.0, 0.0], [1.0, 2.0]]
    weights = [_parameter(start) for start in starts]
    optimiser = LARS(weights, lr=0.3, weight_decay=0.1)
    references = [LarsLoops(start, lr=0.3, weight_decay=0.1, adapt=True) for start in starts]
    for step in range(3):
        for i, (weight, reference) in enumerate(zip(weights[:3], references[:3], strict=True)):
            gradient = _gradients(step + i + 1, weight.numel())[-1]
            weight.grad = torch.tensor(gradient, dtype=torch.float64)
            reference.step(gradient)
        optimiser.step()
    for weight, reference in zip(weights, references, strict=True):
        assert weight.tolist() == pytest.approx(reference.weight, rel=1e-12)


def test_gradients_stay_as_they_are():
    weight = _parameter([0.5, -1.0])
    _step(LARS([weight], lr=0.3, weight_decay=0.1), weight, [1.0, 2.0])
    assert weight.grad.tolist() == [1.0, 2.0]


def test_new_rate_acts_on_new_gradients_alone():
    weight = _parameter([1.0])
    optimiser = LARS([weight], lr=1.0, adapt=False)
    _step(optimiser, weight, [1.0])
    optimiser.param_groups[0]["lr"] = 0.0
    _step(optimiser, weight, [1.0])
    assert weight.item() == pytest.approx(1.0 - 1.0 - 0.9)


def test_parameter_without_gradient_stays():
    weight = _parameter([1.0, 2.0])
    LARS([weight], lr=1.0, weight_decay=0.1).step()
    assert weight.tolist() == [1.0, 2.0]


def test_step_returns_the_loss_of_its_closure():
    weight = _parameter([1.0, 2.0])
    optimiser = LARS([weight], lr=0.1)

    def closure() -> float:
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    assert optimiser.step(closure) == 5.0
    assert weight.tolist() != [1.0, 2.0]


@pytest.mark.parametrize("rate", [-0.1, math.nan])
def test_rate_that_is_no_rate_is_refused(rate):
    with pytest.raises(ConfigError, match="lr of LARS must be 0 or more, got"):
        LARS([_parameter([1.0])], lr=rate)


def test_run_resumed_from_saved_state_equals_uninterrupted_run():
    gradients = _gradients(6, 3)
    weight = _parameter([0.5, -1.0, 2.0])
    optimiser = LARS([weight], lr=0.3, weight_decay=1e-4)
    for gradient in gradients[:3]:
        _step(optimiser, weight, gradient)
    file = io.BytesIO()
    torch.save({"weight": weight.detach(), "optimiser": optimiser.state_dict()}, file)
    file.seek(0)

    saved = torch.load(file, weights_only=True)
    resumed = nn.Parameter(saved["weight"])
    other = LARS([resumed], lr=9.0, adapt=False)
    other.load_state_dict(saved["optimiser"])
    for gradient in gradients[3:]:
        _step(optimiser, weight, gradient)
        _step(other, resumed, gradient)

    assert torch.equal(resumed, weight)


def _group_names(network: nn.Module) -> tuple[set[str], set[str]]:
    adapted, plain = lars_groups(network, weight_decay=1e-4)
    assert (adapted["weight_decay"], adapted["adapt"]) == (1e-4, True)
    assert (plain["weight_decay"], plain["adapt"]) == (0.0, False)
    names = {parameter: name for name, parameter in network.named_parameters()}
    return {names[p] for p in adapted["params"]}, {names[p] for p in plain["params"]}


def test_convolutions_and_dense_kernels_are_adapted_and_batch_norms_are_not():
    with torch.device("meta"):
        encoder = ResNet(depth=18)
        network = SimCLR(encoder, ProjectionHead(in_dim=encoder.feature_dim))
    adapted, plain = _group_names(network)
    assert adapted | plain == {name for name, _ in network.named_parameters()}
    assert not adapted & plain
    assert len(adapted) == 20 + 3 + 1
    assert {name.split(".")[-2].rstrip("123") for name in adapted} == {"conv", "dense"}
    assert {name.split(".")[-2].rstrip("123") for name in plain} == {"bn"}


class _Wrapper(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_supervised_head_is_neither_decayed_nor_adapted(is_wrapped):
    with torch.device("meta"):
        encoder = ResNet(depth=18)
        head = ProjectionHead(in_dim=encoder.feature_dim)
        network = Classifier(encoder, head, head_layer=1, n_classes=3)
    adapted, plain = _group_names(_Wrapper(network) if is_wrapped else network)
    assert {name for name in plain if "supervised_head" in name} == {
        f"{'module.' if is_wrapped else ''}supervised_head.{end}" for end in ("weight", "bias")
    }
    assert any("head_layers.0.dense" in name for name in adapted)


def test_biases_are_neither_decayed_nor_adapted():
    adapted, plain = _group_names(nn.Sequential(nn.Linear(2, 2), nn.Conv2d(2, 2, 1)))
    assert adapted == {"0.weight", "1.weight"}
    assert plain == {"0.bias", "1.bias"}


def test_frozen_parameters_are_in_no_group():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].requires_grad_(False)
    assert _group_names(network) == ({"1.weight"}, {"1.bias"})
