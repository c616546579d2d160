import shutil
import subprocess
import sys

import pytest
import torch
from torch import nn

from medsimclr.errors import ConfigError
from medsimclr.models.batch_norm import BatchNorm
from medsimclr.training.compute import (
    Compute,
    choose_device,
    choose_precision,
    compiled,
    on_device,
    to_images,
    use_ieee_float32,
)

CPU = torch.device("cpu")


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), BatchNorm(4), nn.ReLU(), nn.Flatten())


def _images() -> torch.Tensor:
    return torch.rand((4, 3, 8, 8), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["tpu", "meta", "cpu:x"])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(ConfigError, match="--device must be auto, cpu, cuda or cuda:N, got"):
        choose_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_here_is_refused():
    with pytest.raises(ConfigError, match="'cuda' needs a CUDA GPU, got none; give --device cpu"):
        choose_device("cuda")
    assert choose_device("auto") == CPU


def test_a_wanted_precision_is_taken():
    assert choose_precision("fp32", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"
    assert choose_precision("auto", CPU) in ("fp32", "bf16")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_precision_is_that_of_products_and_not_of_weights(precision, dtype):
    layer = nn.Linear(2, 2)
    with Compute(CPU, precision).autocast():
        assert layer(torch.ones(1, 2)).dtype == dtype
    assert layer.weight.dtype == torch.float32


def test_images_are_views_over_255_channels_last():
    view_BHWC = torch.arange(2 * 4 * 4 * 3, dtype=torch.uint8).reshape(2, 4, 4, 3)
    image_BCHW = to_images(view_BHWC, CPU)
    assert torch.equal(image_BCHW, view_BHWC.permute(0, 3, 1, 2).float() / 255)
    assert image_BCHW.is_contiguous(memory_format=torch.channels_last)


def test_convolutions_on_a_device_are_channels_last():
    network = on_device(_network(), CPU)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_not_compiled_is_the_module_itself():
    network = _network()
    assert compiled(network, enabled=False) is network
    assert network._compiled_call_impl is None


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler, got none called 'no-such"):
        compiled(_network(), enabled=True)


# torch.compile does what torch itself warns of.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_equals_eager_in_value_gradient_and_names():
    use_ieee_float32()  # inductor reads the settings of TensorFloat-32 too
    eager, fast = _network(), compiled(_network(), enabled=True)
    results = [network(_images()) for network in (eager, fast)]
    for result in results:
        result.sigmoid().square().sum().backward()
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(fast[0].weight.grad, eager[0].weight.grad)
    assert list(fast.state_dict()) == list(eager.state_dict())
    torch.testing.assert_close(fast.state_dict(), eager.state_dict())


FAULTS = """
import resource, sys, torch
from medsimclr.training import compute
for name in sys.argv[1:]:
    getattr(compute, name)()
faults = []
for _ in range(14):
    tensors = [torch.ones(10 * 2**20), torch.ones(10 * 2**20)]
    tensors.clear()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
# The heap takes some rounds to find its size.
print(faults[-1] - faults[9])
"""


def _page_faults(*settings: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, *settings], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_freed_memory_is_kept_or_returned_as_was_said_last():
    returned = _page_faults("keep_freed_memory", "return_freed_memory")
    kept = _page_faults("return_freed_memory", "keep_freed_memory")
    assert returned > 80_000, "four times 84 MB are 82,000 pages"
    assert kept < returned / 4
