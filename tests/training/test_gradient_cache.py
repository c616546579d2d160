"""Gradient caching against one graph that holds everything."""

import pytest
import torch
from torch import nn

from medsimclr.losses.nt_xent import nt_xent
from medsimclr.models.batch_norm import BatchNorm, frozen_statistics
from medsimclr.models.recompute import recomputed
from medsimclr.training.compute import Compute, to_images
from medsimclr.training.gradient_cache import accumulate_cached

CPU = torch.device("cpu")
FP32 = Compute(CPU, "fp32")
N_TILES = 7


class _Network(nn.Module):
    """Two convolutions and a dense layer with batch norm; computes in the dtype of its weights."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False), BatchNorm(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, bias=False), BatchNorm(8), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 16, bias=False), BatchNorm(16),
        )  # fmt: skip
        for norm in self.norms():
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.1, 0.5)
        self.to(dtype)

    def norms(self):
        return [layer for layer in self.layers if isinstance(layer, BatchNorm)]

    def forward(self, image_BCHW):
        return self.layers(image_BCHW.to(self.layers[0].weight.dtype))


def _views(n_tiles: int = N_TILES) -> torch.Tensor:
    """Return views of 12 px in large patches: of fine noise a network makes always the same."""
    generator = torch.Generator().manual_seed(1)
    shape = (2, n_tiles, 3, 3, 3)
    patches = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return patches.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)


def _in_one_graph(model, views_VnHWC, *, micro_batch, compute=FP32):
    """Return the shares and leave the gradients of micro-batches that are all held at once."""
    z_a, z_b = [], []
    for views in views_VnHWC.split(micro_batch, dim=1):
        with compute.autocast():
            z = model(to_images(views.flatten(0, 1), CPU))
        z_a.append(z.chunk(2)[0])
        z_b.append(z.chunk(2)[1])
    figures = nt_xent(torch.cat(z_a), torch.cat(z_b), temperature=0.2)
    figures.loss.backward()
    return figures, torch.cat(z_a).detach(), torch.cat(z_b).detach()


def _assert_same(model, expected_model, step, expected, *, tolerance):
    figures, z_a, z_b = expected
    for ours, theirs in zip(step.figures, figures, strict=True):
        assert ours.item() == pytest.approx(theirs.item(), rel=tolerance)
    torch.testing.assert_close(step.z_a_nP, z_a, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(step.z_b_nP, z_b, rtol=tolerance, atol=tolerance)
    pairs = zip(model.named_parameters(), expected_model.parameters(), strict=True)
    for (name, ours), theirs in pairs:
        error = (ours.grad - theirs.grad).abs().max()
        assert error < tolerance * theirs.grad.abs().max(), name


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("micro_batch", [1, 3, N_TILES, 100])
def test_frozen_equals_the_whole_batch_at_once(dtype, tolerance, micro_batch):
    model, whole = _Network(dtype), _Network(dtype)
    with frozen_statistics(whole):
        expected = _in_one_graph(whole, _views(), micro_batch=N_TILES)
    step = accumulate_cached(
        model, _views(), micro_batch=micro_batch, temperature=0.2, compute=FP32,
        statistics="frozen",
    )  # fmt: skip
    _assert_same(model, whole, step, expected, tolerance=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("micro_batch", [1, 3, N_TILES])
def test_micro_equals_micro_batches_held_in_one_graph(dtype, tolerance, micro_batch):
    model, whole = _Network(dtype), _Network(dtype)
    expected = _in_one_graph(whole, _views(), micro_batch=micro_batch)
    step = accumulate_cached(
        model, _views(), micro_batch=micro_batch, temperature=0.2, compute=FP32
    )
    _assert_same(model, whole, step, expected, tolerance=tolerance)
    for ours, theirs in zip(model.buffers(), whole.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_micro_moves_the_statistics_once_a_micro_batch():
    model = _Network(torch.float32)
    accumulate_cached(model, _views(), micro_batch=3, temperature=0.2, compute=FP32)
    assert [norm.num_batches_tracked.item() for norm in model.norms()] == [3, 3, 3]


def test_frozen_moves_nothing_and_leaves_the_network_in_training_mode():
    model = _Network(torch.float32)
    before = [buffer.clone() for buffer in model.buffers()]
    accumulate_cached(
        model, _views(), micro_batch=3, temperature=0.2, compute=FP32, statistics="frozen"
    )
    for buffer, value in zip(model.buffers(), before, strict=True):
        assert torch.equal(buffer, value)
    assert all(norm.training for norm in model.norms())


def test_gradients_are_added():
    model = _Network(torch.float64)
    accumulate_cached(model, _views(), micro_batch=3, temperature=0.2, compute=FP32)
    once = [parameter.grad.clone() for parameter in model.parameters()]
    accumulate_cached(model, _views(), micro_batch=3, temperature=0.2, compute=FP32)
    for parameter, gradient in zip(model.parameters(), once, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * gradient)


def test_nothing_returned_holds_a_graph():
    model = _Network(torch.float32)
    step = accumulate_cached(model, _views(), micro_batch=3, temperature=0.2, compute=FP32)
    assert not any(value.requires_grad for value in (*step.figures, step.z_a_nP, step.z_b_nP))


def test_only_one_micro_batch_holds_activations():
    model, held = _Network(torch.float32), []

    def count(module, arguments, output):
        if torch.is_grad_enabled():
            held.append(len(output))
            output.register_hook(lambda gradient: held.remove(len(output)))
            assert sum(held) <= 6, held

    model.register_forward_hook(count)
    accumulate_cached(model, _views(), micro_batch=3, temperature=0.2, compute=FP32)
    assert not held


def test_bfloat16_equals_micro_batches_held_in_one_graph():
    model, whole = _Network(torch.float32), _Network(torch.float32)
    compute = Compute(CPU, "bf16")
    expected = _in_one_graph(whole, _views(), micro_batch=3, compute=compute)
    step = accumulate_cached(model, _views(), micro_batch=3, temperature=0.2, compute=compute)
    assert step.figures.loss.dtype == torch.float32
    _assert_same(model, whole, step, expected, tolerance=1e-5)


class _Recomputing(_Network):
    def forward(self, image_BCHW):
        return recomputed(self.layers, image_BCHW.to(self.layers[0].weight.dtype))


def test_recomputed_activations_give_the_same_step():
    model, whole = _Recomputing(torch.float64), _Network(torch.float64)
    expected = _in_one_graph(whole, _views(), micro_batch=3)
    step = accumulate_cached(model, _views(), micro_batch=3, temperature=0.2, compute=FP32)
    _assert_same(model, whole, step, expected, tolerance=1e-10)
    for ours, theirs in zip(model.buffers(), whole.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


def _share(group, views_VnHWC, statistics):
    """Return figures, gradients and projections of this process's tiles."""
    model = _Network(torch.float64)
    step = accumulate_cached(
        model, views_VnHWC.chunk(group.size, dim=1)[group.rank], micro_batch=2, temperature=0.2,
        compute=FP32, group=group, statistics=statistics,
    )  # fmt: skip
    return list(step.figures), [parameter.grad for parameter in model.parameters()]


def test_shares_of_processes_add_up_to_the_batch(processes):
    whole = _Network(torch.float64)
    with frozen_statistics(whole):
        figures, _, _ = _in_one_graph(whole, _views(8), micro_batch=8)
    shares = processes.run(_share, _views(8), "frozen", size=2)
    for ours, theirs in zip(zip(*(s[0] for s in shares), strict=True), figures, strict=True):
        assert sum(ours).item() == pytest.approx(theirs.item(), rel=1e-8)
    for ours, theirs in zip(
        zip(*(s[1] for s in shares), strict=True), whole.parameters(), strict=True
    ):
        torch.testing.assert_close(sum(ours), theirs.grad, rtol=1e-8, atol=1e-10)
