"""What torchrun itself starts."""

import subprocess
import sys

import pytest

import medsimclr

_KILLED_SCRIPT = """
import os, signal, sys
import torch
from medsimclr.distributed.group import joined_group
from medsimclr.errors import LostProcessError

try:
    with joined_group(torch.device("cpu"), timeout_seconds=60) as group:
        # One write: two processes share the pipe.
        os.write(1, f"sum {group.sum(torch.ones(1)).item()}\\n".encode())
        if group.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        group.wait()
except LostProcessError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
"""


def _torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
def test_torchrun_starts_the_command_line_as_a_module():
    result = _torchrun("-m", "medsimclr", "--version")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [f"medsimclr {medsimclr.__version__}"] * 2


@pytest.mark.slow
def test_killed_process_under_torchrun_ends_the_job(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(_KILLED_SCRIPT)
    result = _torchrun(str(script))
    assert result.returncode == 1
    assert result.stdout.count("sum 2.0\n") == 2
    assert "Signal 9 (SIGKILL) received by PID" in result.stderr
