import re

import numpy as np
import pytest
import torch

from medsimclr.errors import IntegrityError
from medsimclr.models.projection_head import ProjectionHead
from medsimclr.models.reference_weights import (
    load_reference,
    reference_names,
    to_reference_layout,
    to_torch_layout,
)
from medsimclr.models.resnet import ResNet
from medsimclr.models.simclr import SimCLR
from tests.references.meta_network import meta_network
from tests.references.reference_step import FLOAT64_STEPS, STEP_CASES


def _network(name: str) -> SimCLR:
    return meta_network(STEP_CASES[name])


@pytest.fixture
def small() -> SimCLR:
    return SimCLR(ResNet(depth=18), ProjectionHead(in_dim=512, n_layers=2, out_dim=8))


def _variables(network: SimCLR) -> dict[str, np.ndarray]:
    """The network's own values, each changed by 1, as the reference would hold them."""
    state = network.state_dict()
    return {
        name: to_reference_layout(state[key] + 1).numpy()
        for key, name in reference_names(network).items()
    }


@pytest.mark.parametrize("name", list(STEP_CASES))
def test_names_shapes_and_kinds_are_those_that_the_reference_listed(name):
    network = _network(name)
    trainable = dict(network.named_parameters())
    state = network.state_dict()
    ours = {
        f"{theirs}|{'x'.join(map(str, to_reference_layout(state[key]).shape))}|"
        f"{int(key in trainable)}"
        for key, theirs in reference_names(network).items()
    }
    with np.load(FLOAT64_STEPS) as archive:
        assert ours == set(archive[f"{name}/variables"])


@pytest.mark.parametrize("name", list(STEP_CASES))
def test_layers_are_built_in_the_order_of_the_reference(name):
    names = list(reference_names(_network(name)).values())
    for kind in ("conv2d", "sync_batch_normalization", "dense"):
        found = [re.findall(rf"/{kind}(?:_(\d+))?/(?:kernel|gamma)", theirs) for theirs in names]
        numbers = [int(numbers[0] or 0) for numbers in found if numbers]
        assert numbers == list(range(len(numbers)))


def test_every_weight_and_statistic_has_a_name(small):
    keys = {key for key in small.state_dict() if not key.endswith("num_batches_tracked")}
    assert set(reference_names(small)) == keys


def test_layouts_move_channels_to_the_front_and_back():
    kernel_hwio = np.arange(3 * 3 * 2 * 5).reshape(3, 3, 2, 5)
    kernel_oihw = to_torch_layout(kernel_hwio)
    assert kernel_oihw.shape == (5, 2, 3, 3)
    assert kernel_oihw[4, 1, 0, 2] == kernel_hwio[0, 2, 1, 4]
    assert np.array_equal(to_reference_layout(kernel_oihw).numpy(), kernel_hwio)
    dense_io = np.arange(6).reshape(2, 3)
    assert np.array_equal(to_torch_layout(dense_io).numpy(), dense_io.T)
    assert np.array_equal(to_reference_layout(to_torch_layout(dense_io)).numpy(), dense_io)


@pytest.mark.parametrize("layout", [to_torch_layout, to_reference_layout])
def test_array_of_three_axes_is_refused(layout):
    values = np.zeros((2, 3, 4)) if layout is to_torch_layout else torch.zeros(2, 3, 4)
    with pytest.raises(IntegrityError, match=r"must have 1, 2 or 4 axes, got \(2, 3, 4\)"):
        layout(values)


def test_loading_copies_every_variable_and_keeps_precision(small):
    small.double()
    variables = _variables(small)
    expected = {key: variables[name].copy() for key, name in reference_names(small).items()}
    load_reference(small, {name: values.astype(np.float32) for name, values in variables.items()})
    for key, values in expected.items():
        loaded = small.state_dict()[key]
        assert loaded.dtype == torch.float64
        np.testing.assert_allclose(to_reference_layout(loaded).numpy(), values, rtol=1e-6)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (":0", ""),
        ("sync_batch", "batch"),
        ("resnet/", "model/resnet/"),
        ("resnet/", "base_model/"),
        ("projection_head/", "head_contrastive/"),
        ("dense_1", "dense"),
    ],
)
def test_prefixes_do_not_matter(small, old, new):
    variables = {name.replace(old, new): values for name, values in _variables(small).items()}
    load_reference(small, variables)
    again = _variables(small)
    for name, values in again.items():
        np.testing.assert_array_equal(values, variables[name.replace(old, new)] + 1)


_FIRST = "resnet/conv2d_fixed_padding/conv2d/kernel:0"


def test_missing_variable_is_named(small):
    variables = _variables(small)
    del variables[_FIRST]
    with pytest.raises(IntegrityError, match=f"{_FIRST}' is missing among the 113 given"):
        load_reference(small, variables)


@pytest.mark.parametrize(
    "extra", ["head_supervised/linear_layer/dense_2/kernel:0", f"{_FIRST}/Momentum", "global_step"]
)
def test_variable_without_a_place_is_named(small, extra):
    variables = {**_variables(small), extra: np.zeros(3)}
    with pytest.raises(IntegrityError, match=rf"'{extra}' has no place .* \(1 such\); leave out"):
        load_reference(small, variables)


def test_second_copy_of_a_variable_is_named(small):
    variables = _variables(small)
    copy = f"ema_model/{_FIRST}"
    with pytest.raises(IntegrityError, match=f"'{_FIRST}' and '{copy}' are the same weight"):
        load_reference(small, {**variables, copy: variables[_FIRST]})


def test_misshaped_variable_is_named_and_nothing_is_copied(small):
    before = {key: value.clone() for key, value in small.state_dict().items()}
    last = "projection_head/nl_1/dense_1/kernel:0"
    variables = {**_variables(small), last: np.zeros((8, 512))}
    expected = rf"'{last}' must have shape \(512, 8\), got \(8, 512\)"
    with pytest.raises(IntegrityError, match=expected):
        load_reference(small, variables)
    assert all(torch.equal(value, before[key]) for key, value in small.state_dict().items())


def test_weights_of_another_encoder_are_refused(small):
    other = SimCLR(ResNet(depth=18, selective_kernels=True), small.head)
    with pytest.raises(IntegrityError, match=r"got \(7, 7, 3, 64\); depth, width"):
        load_reference(other, _variables(small))
