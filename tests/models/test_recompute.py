import pytest
import torch
from torch import nn

from medsimclr.models.batch_norm import BatchNorm
from medsimclr.models.recompute import HeldStatistics, recomputed
from medsimclr.models.resnet import Depth, ResNet


def _encoder(depth: Depth = 18, *, recompute: bool, selective_kernels: bool = False) -> ResNet:
    return ResNet(
        depth=depth,
        selective_kernels=selective_kernels,
        recompute=recompute,
        generator=torch.Generator().manual_seed(0),
    )


def _images() -> torch.Tensor:
    return torch.rand(4, 3, 40, 33, generator=torch.Generator().manual_seed(1))


def _step(encoder: ResNet) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    loss = encoder(_images()).pow(2).sum()
    loss.backward()
    gradients = {name: weight.grad for name, weight in encoder.named_parameters()}
    return loss, gradients, dict(encoder.named_buffers())


@pytest.mark.parametrize(("depth", "selective_kernels"), [(18, False), (50, True)])
def test_loss_gradients_and_statistics_have_the_bits_of_the_plain_step(depth, selective_kernels):
    plain, recomputing = (
        _encoder(depth, recompute=recompute, selective_kernels=selective_kernels)
        for recompute in (False, True)
    )
    for _ in range(2):
        loss, gradients, statistics = _step(plain)
        again = _step(recomputing)
        assert torch.equal(again[0], loss)
        assert all(torch.equal(again[1][name], gradients[name]) for name in gradients)
        assert all(torch.equal(again[2][name], statistics[name]) for name in statistics)


def test_bfloat16_autocast_gives_the_same_bits():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = [encoder(_images()).float().pow(2).sum() for encoder in _both()]
    assert torch.equal(*losses)


def _both() -> list[ResNet]:
    return [_encoder(recompute=recompute) for recompute in (False, True)]


def test_much_less_is_kept_for_backward():
    plain, recomputing = (_kept_bytes(encoder) for encoder in _both())
    assert recomputing < 0.35 * plain


def _kept_bytes(encoder: ResNet) -> int:
    """Bytes of all storages that the forward pass keeps for backward, weights left out."""
    weights = {weight.untyped_storage().data_ptr() for weight in encoder.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = encoder(_images())
    del output
    return sum(storage.nbytes() for storage in kept.values())


def test_nothing_is_recomputed_without_gradient():
    encoder = _encoder(recompute=True)
    with torch.no_grad():
        assert encoder(_images()).grad_fn is None


def test_backward_twice_recomputes_twice():
    norm = BatchNorm(3)
    value = torch.rand(5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    output = recomputed(nn.Sequential(norm, nn.Sigmoid()), value).sum()
    statistics = norm.running_mean.clone()
    first, second = (torch.autograd.grad(output, value, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(norm.running_mean, statistics)


def test_held_statistics_stay_and_move_again_afterwards():
    norm = BatchNorm(3)
    held = HeldStatistics(nn.Sequential(norm))
    value = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    buffers = dict(norm.named_buffers())
    before = {name: buffer.clone() for name, buffer in buffers.items()}
    for _ in range(2):
        with held:
            norm(value)
    for name, buffer in norm.named_buffers():
        assert buffer is buffers[name]
        assert torch.equal(buffer, before[name])
    norm(value)
    assert norm.num_batches_tracked == 1


def test_held_statistics_come_back_after_an_error():
    norm = BatchNorm(3)
    buffers = dict(norm.named_buffers())
    with pytest.raises(ZeroDivisionError), HeldStatistics(norm):
        raise ZeroDivisionError
    assert all(buffer is buffers[name] for name, buffer in norm.named_buffers())
