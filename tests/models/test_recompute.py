from hashlib import sha256

import pytest
import torch
from torch import nn

from medsimclr.distributed.group import Group
from medsimclr.models.batch_norm import BatchNorm, synchronise_batch_norm
from medsimclr.models.recompute import recomputed
from medsimclr.models.resnet import Depth, ResNet


def _encoder(depth: Depth = 18, *, recompute: bool, selective_kernels: bool = False) -> ResNet:
    random = torch.Generator().manual_seed(0)
    encoder = ResNet(
        depth=depth, selective_kernels=selective_kernels, recompute=recompute, generator=random
    )
    for weight in encoder.parameters():
        if weight.dim() == 1:  # else the gammas that start at zero hide the branches
            nn.init.uniform_(weight, 0.5, 1.5, generator=random)
    return encoder


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
        assert all(gradient.abs().max() > 0 for gradient in gradients.values())
        assert all(torch.equal(again[2][name], statistics[name]) for name in statistics)


def _digest_of_share(group: Group, recompute: bool) -> str:
    """Digest of gradients and statistics of a process that has its share of the images."""
    encoder = _encoder(recompute=recompute)
    synchronise_batch_norm(encoder, group)
    encoder(_images().chunk(group.size)[group.rank]).pow(2).sum().backward()
    tensors = [weight.grad for weight in encoder.parameters()]
    tensors.extend(encoder.buffers())
    return sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


def test_global_batch_norm_gives_the_same_bits_in_every_process(processes):
    plain, recomputing = (
        processes.run(_digest_of_share, recompute, size=2) for recompute in (False, True)
    )
    assert recomputing == plain


def test_bfloat16_autocast_gives_the_same_bits():
    encoders = _both()
    for encoder in encoders:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = encoder(_images())
        features.float().pow(2).sum().backward()
    for plain, again in zip(*(encoder.parameters() for encoder in encoders), strict=True):
        assert torch.equal(again.grad, plain.grad)


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
