import pytest
import torch
from torch import nn

from medsimclr.errors import ConfigError
from medsimclr.models.projection_head import ProjectionHead


def _head(**arguments: int) -> ProjectionHead:
    return ProjectionHead(in_dim=6, generator=torch.Generator().manual_seed(0), **arguments)


def _features() -> torch.Tensor:
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("in_dim", "n_parameters"),
    [(512, 592_000), (2048, 8_659_072), (4096, 34_095_232), (6144, 76_308_608)],
)
def test_parameter_count_equals_the_reference(in_dim, n_parameters):
    with torch.device("meta"):
        head = ProjectionHead(in_dim=in_dim)
    assert sum(parameter.numel() for parameter in head.parameters()) == n_parameters


def test_last_layer_has_gamma_but_neither_beta_nor_relu():
    head = _head(out_dim=4)
    names = [name for name, _ in head.layers[-1].named_parameters()]
    assert names == ["dense.weight", "bn.weight"]
    assert head(_features()).min() < 0


def test_hidden_runs_through_the_layers_one_by_one():
    head, h = _head(out_dim=4).eval(), _features()
    for layer in range(4):
        torch.testing.assert_close(head.hidden(_features(), layer=layer), h)
        assert head.dim(layer=layer) == h.shape[1]
        if layer < 3:
            h = head.layers[layer](h)
    torch.testing.assert_close(head(_features()), h)


def test_hidden_layers_end_in_relu():
    assert _head().hidden(_features(), layer=1).min() == 0


@pytest.mark.parametrize("layer", [-1, 4])
def test_layer_that_the_head_lacks_is_refused(layer):
    with pytest.raises(ConfigError, match=rf"head layer must be 0 .* to 3, got {layer}"):
        _head().hidden(_features(), layer=layer)


def test_head_without_layers_is_refused():
    with pytest.raises(ConfigError, match="n_layers of the projection head must be 1 or more"):
        _head(n_layers=0)


def test_head_of_one_layer_is_the_last_layer():
    head = _head(n_layers=1, out_dim=4)
    assert [name for name, _ in head.named_parameters()] == [
        "layers.0.dense.weight",
        "layers.0.bn.weight",
    ]


def test_dense_kernels_start_normal_with_deviation_one_hundredth():
    head = ProjectionHead(in_dim=256, generator=torch.Generator().manual_seed(0))
    for module in head.modules():
        if isinstance(module, nn.Linear):
            weight = module.weight.detach()
            assert weight.mean().item() == pytest.approx(0, abs=0.0003)
            assert weight.std().item() == pytest.approx(0.01, rel=0.02)
            # Not truncated: 4.6 % of a normal lie beyond two deviations.
            assert (weight.abs() > 0.02).double().mean().item() == pytest.approx(0.0455, abs=0.006)


def test_construction_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    ProjectionHead(in_dim=6)
    assert torch.equal(torch.get_rng_state(), before)
