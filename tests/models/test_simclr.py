import pytest
import torch

from medsimclr.errors import ConfigError
from medsimclr.models.projection_head import ProjectionHead
from medsimclr.models.resnet import ResNet
from medsimclr.models.simclr import Classifier, SimCLR


def _parts(depth: int = 18, width: int = 1) -> tuple[ResNet, ProjectionHead]:
    encoder = ResNet(depth=depth, width=width, stem="small")
    return encoder, ProjectionHead(in_dim=encoder.feature_dim)


def _images() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("depth", "width", "selective_kernels", "n_parameters"),
    [
        (18, 1, False, 11_443_904),
        (34, 1, False, 21_552_064),
        (50, 1, False, 27_706_432),
        (50, 1, True, 39_413_984),
        (50, 2, False, 110_692_480),
        (50, 2, True, 157_091_456),
        (101, 1, False, 46_698_560),
        (101, 1, True, 68_860_704),
        (101, 2, True, 273_917_632),
        (152, 1, False, 62_342_208),
        (152, 1, True, 93_139_296),
        (152, 2, True, 370_183_936),
        (152, 3, True, 832_465_184),
    ],
)
def test_classifier_from_head_layer_1_counts_as_published(
    depth, width, selective_kernels, n_parameters
):
    with torch.device("meta"):
        encoder = ResNet(depth=depth, width=width, selective_kernels=selective_kernels)
        head = ProjectionHead(in_dim=encoder.feature_dim)
        classifier = Classifier(encoder, head, head_layer=1, n_classes=3)
    n_dense = 3 * encoder.feature_dim + 3
    assert sum(p.numel() for p in classifier.parameters()) == n_parameters + n_dense


def test_simclr_is_head_after_encoder():
    encoder, head = _parts()
    network = SimCLR(encoder, head).eval()
    with torch.no_grad():
        assert torch.equal(network(_images()), head(encoder(_images())))


@pytest.mark.parametrize(("head_layer", "dim"), [(0, 512), (1, 512), (3, 128)])
def test_features_are_the_output_of_the_chosen_head_layer(head_layer, dim):
    encoder, head = _parts()
    classifier = Classifier(encoder, head, head_layer=head_layer, n_classes=3).eval()
    with torch.no_grad():
        features = classifier.features(_images())
        assert features.shape == (2, dim)
        assert torch.equal(features, head.eval().hidden(encoder(_images()), layer=head_layer))


def test_logits_start_at_zero_and_follow_the_dense_layer():
    classifier = Classifier(*_parts(), head_layer=1, n_classes=3).eval()
    with torch.no_grad():
        assert torch.equal(classifier(_images()), torch.zeros(2, 3))
        classifier.supervised_head.weight.fill_(0.5)
        classifier.supervised_head.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
        features = classifier.features(_images())
        expected = 0.5 * features.sum(dim=1, keepdim=True) + torch.tensor([1.0, 2.0, 3.0])
        torch.testing.assert_close(classifier(_images()), expected)


def test_classifier_carries_no_head_layer_that_it_does_not_use():
    with torch.device("meta"):
        classifier = Classifier(*_parts(), head_layer=1, n_classes=3)
    names = {name for name in classifier.state_dict() if not name.startswith("encoder.")}
    assert {name.rpartition(".")[0] for name in names} == {
        "head_layers.0.dense",
        "head_layers.0.bn",
        "supervised_head",
    }


def test_every_parameter_of_a_classifier_gets_a_gradient():
    classifier = Classifier(*_parts(), head_layer=1, n_classes=3)
    classifier(_images()).sum().backward()
    assert all(parameter.grad is not None for parameter in classifier.parameters())


def test_head_layer_that_the_head_lacks_is_refused():
    with torch.device("meta"), pytest.raises(ConfigError, match=r"must be 0 .* to 3, got 4"):
        Classifier(*_parts(), head_layer=4, n_classes=3)


def test_one_class_is_refused():
    with torch.device("meta"), pytest.raises(ConfigError, match="at least 2 classes, got 1"):
        Classifier(*_parts(), head_layer=0, n_classes=1)
