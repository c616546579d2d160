"""What needs CUDA devices; the same formulas are tested on the CPU beside this file."""

import subprocess
import sys

import pytest
import torch

from medsimclr.distributed.batch_norm import joined_batch_norm
from medsimclr.distributed.group import Group, local_device
from medsimclr.errors import ConfigError

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
needs_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than 2 CUDA devices")


def test_each_process_takes_the_device_of_its_local_rank(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert local_device(torch.device("cuda")) == torch.device("cuda", 3)
    assert local_device(torch.device("cpu")) == torch.device("cpu")


def test_a_process_alone_on_its_machine_takes_the_device_that_was_named(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert local_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert local_device(torch.device("cuda", 1)) == torch.device("cuda", 1)


def test_one_device_for_several_processes_is_refused(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(
        ConfigError, match=r"no single GPU for the 4 processes .*, got 'cuda:1'; give --device cuda"
    ):
        local_device(torch.device("cuda", 1))
    assert local_device(torch.device("cpu", 0)) == torch.device("cpu", 0)


def test_more_processes_than_devices_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match=r"^LOCAL_RANK must be below .* devices, 2, got 2; lower"):
        local_device(torch.device("cuda"))


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_joined_batch_norm_on_cuda_equals_that_on_the_cpu(dtype):
    value = torch.randn(4, 8, 5, 5, generator=torch.Generator().manual_seed(0)) + 3
    results = []
    for device in ("cpu", "cuda"):
        own = value.to(device, dtype, memory_format=torch.channels_last).requires_grad_()
        weight_C = torch.linspace(-1, 2, 8, device=device, requires_grad=True)
        bias_C = torch.zeros(8, device=device, requires_grad=True)
        output, *moments = joined_batch_norm(own, weight_C, bias_C, eps=1e-5, group=Group())
        assert output.dtype == dtype
        assert output.is_contiguous(memory_format=torch.channels_last)
        output.float().pow(3).sum().backward()
        results.append([output, *moments, own.grad, weight_C.grad, bias_C.grad])
    tolerance = 1e-4 if dtype == torch.float32 else 0.05
    for of_cpu, of_cuda in zip(*results, strict=True):
        torch.testing.assert_close(of_cuda.cpu(), of_cpu, rtol=tolerance, atol=tolerance)


_NCCL_SCRIPT = """
import torch
from medsimclr.distributed.agreement import on_main
from medsimclr.distributed.gather import gather_with_gradient
from medsimclr.distributed.gradients import sum_gradients
from medsimclr.distributed.group import joined_group

with joined_group(torch.device("cuda"), timeout_seconds=60) as group:
    factor = group.rank + 1.0
    own = torch.nn.Parameter(torch.full((2, 3), factor, device=group.device))
    rows = gather_with_gradient(own, group)
    assert rows.tolist() == [[1.0] * 3] * 2 + [[2.0] * 3] * 2
    (rows * factor).sum().backward()
    assert own.grad.tolist() == [[3.0] * 3] * 2
    sum_gradients([own], group)
    assert own.grad.tolist() == [[6.0] * 3] * 2
    assert on_main(group, lambda: "Schnitt") == "Schnitt"
    group.wait()
    print("device", group.device.index)
"""


@pytest.mark.gpu
@needs_two
def test_two_processes_speak_nccl(tmp_path):
    script = tmp_path / "nccl.py"
    script.write_text(_NCCL_SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    result = subprocess.run(
        [*command, str(script)], capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == ["device 0", "device 1"]
