"""What only a GPU does: run with `pytest -m gpu` on a machine that has one."""

import copy

import pytest
import torch
from torch import nn

from medsimclr.data.tile_index import index_tiles
from medsimclr.data.views import TileViews, load_batches
from medsimclr.losses.nt_xent import nt_xent
from medsimclr.models.batch_norm import BatchNorm
from medsimclr.models.projection_head import ProjectionHead
from medsimclr.models.resnet import ResNet
from medsimclr.models.simclr import SimCLR
from medsimclr.optim.lars import LARS, lars_groups
from medsimclr.store.reader import TileStore
from medsimclr.training.compute import (
    Compute,
    choose_device,
    choose_precision,
    compiled,
    on_device,
    to_images,
    use_ieee_float32,
)
from medsimclr.training.plan import build_optimizer
from tests.tiny_store import write_tiny_store

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _ieee_float32():
    use_ieee_float32()


def _network() -> SimCLR:
    encoder = ResNet(depth=18, stem="small")
    model = SimCLR(encoder, ProjectionHead(in_dim=encoder.feature_dim))
    for part in model.modules():
        if isinstance(part, BatchNorm):
            # Residual branches start at gamma 0, where nothing before has a gradient.
            nn.init.ones_(part.weight)
    return model


def _views() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8, generator=generator)


def _gradient(model: nn.Module, compute: Compute) -> torch.Tensor:
    """Return loss, and leave the gradient of one pretraining step."""
    with compute.autocast():
        z_a_ND, z_b_ND = model(to_images(_views(), compute.device)).chunk(2)
    loss = nt_xent(z_a_ND, z_b_ND, temperature=0.1).loss
    loss.backward()
    return loss.detach()


def _relative_error(value: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((value.cpu() - wanted).norm() / wanted.norm()).item()


def test_auto_takes_the_gpu():
    assert choose_device("auto") == CUDA
    assert choose_precision("auto", CUDA) in ("fp32", "bf16")


def test_fp32_is_ieee_and_equals_the_cpu():
    generator = torch.Generator().manual_seed(0)
    image_BCHW = torch.randn((2, 64, 16, 16), generator=generator)
    conv = nn.Conv2d(64, 64, 3)
    wanted = conv(image_BCHW).detach()
    found = copy.deepcopy(conv).to(CUDA)(image_BCHW.to(CUDA)).detach()
    # TensorFloat-32 would be off by some 1e-3.
    assert _relative_error(found, wanted) < 1e-5
    product = image_BCHW.flatten(1)
    assert _relative_error(product.to(CUDA) @ product.to(CUDA).T, product @ product.T) < 1e-5


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 0.1)])
def test_a_step_equals_that_of_the_cpu(precision, tolerance):
    model = on_device(_network(), CPU).train()
    on_gpu = on_device(copy.deepcopy(model), CUDA)
    wanted = _gradient(model, Compute(CPU, "fp32"))
    found = _gradient(on_gpu, Compute(CUDA, precision))
    assert found.item() == pytest.approx(wanted.item(), rel=tolerance)
    if precision == "fp32":
        for name, weight in model.named_parameters():
            error = _relative_error(on_gpu.get_parameter(name).grad, weight.grad)
            assert error < 1e-2, name


@pytest.mark.parametrize("name", ["lars", "sgd"])
def test_an_update_equals_that_of_the_cpu(name):
    model = on_device(_network(), CPU).train()
    _gradient(model, Compute(CPU, "fp32"))
    on_gpu = on_device(copy.deepcopy(model), CUDA)
    for weight, other in zip(model.parameters(), on_gpu.parameters(), strict=True):
        other.grad = weight.grad.to(CUDA)
    for network in (model, on_gpu):
        optimizer = build_optimizer(network, name=name, lr=0.3, weight_decay=1e-4)
        optimizer.step()
        optimizer.step()
    for (key, wanted), found in zip(
        model.state_dict().items(), on_gpu.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(found.cpu(), wanted, rtol=1e-5, atol=1e-6, msg=key)


def test_lars_waits_for_no_gpu():
    model = on_device(_network(), CUDA).train()
    _gradient(model, Compute(CUDA, "fp32"))
    optimizer = LARS(lars_groups(model, weight_decay=1e-4), lr=0.3)
    torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("n_workers", [0, 1])
def test_pinned_batches_travel_unchanged(tmp_path, n_workers):
    store = write_tiny_store(tmp_path / "s.zarr")
    views = TileViews(store, index_tiles(TileStore(store)), kind="evaluation", view_px=32)
    order = [[(0, position)] for position in range(4)]
    plain = list(load_batches(views, order, n_workers=0))
    pinned = list(load_batches(views, order, n_workers=n_workers, is_pinned=True))
    for (wanted, _), (found, _) in zip(plain, pinned, strict=True):
        assert found.is_pinned()
        images = to_images(found[0], CUDA)
        assert images.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(images.cpu(), to_images(wanted[0], CPU))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_step_equals_an_eager_one():
    eager = on_device(_network(), CUDA).train()
    fast = compiled(copy.deepcopy(eager), enabled=True)
    wanted = _gradient(eager, Compute(CUDA, "fp32"))
    found = _gradient(fast, Compute(CUDA, "fp32"))
    assert found.item() == pytest.approx(wanted.item(), rel=1e-3)
    assert list(fast.state_dict()) == list(eager.state_dict())
