"""A process that dies, hangs or fails ends the others, soon and with one sentence."""

import re
import signal
import socket
import time

import pytest
import torch
from torch import nn

from medsimclr.distributed.group import SINGLE, joined_group
from medsimclr.errors import ConfigError, LostProcessError
from medsimclr.models.batch_norm import BatchNorm, synchronise_batch_norm
from tests.distributed.processes import Failure


def _sum(group):
    group.sum(torch.ones(1000))


def _gather(group):
    group.gather(torch.ones(1000))


def _wait(group):
    group.wait()


def _backward(group):
    norm = BatchNorm(3)
    synchronise_batch_norm(norm, group)
    norm(torch.rand(4, 3)).sum().backward()


def _repeat(group, collective, folder):
    while True:
        collective(group)
        (folder / str(group.rank)).touch()


def _wait_for_files(folder, size):
    deadline = time.monotonic() + 60
    while not all((folder / str(rank)).exists() for rank in range(size)):
        assert time.monotonic() < deadline, "not all processes came to their first collective"
        time.sleep(0.01)


def _check_lost(outcome, rank, size):
    assert isinstance(outcome, Failure)
    assert outcome.kind == "LostProcessError", outcome.trace
    assert re.fullmatch(
        rf"process {rank + 1} of {size} waited in vain for another one, which died, hangs or ended "
        r"with an error of its own \((Connection closed|Read error|Write error|Timed out)[^()]*\); "
        "run the same command again to go on from the last checkpoint.",
        outcome.sentence,
    ), outcome.sentence
    assert outcome.exit_code == 1


@pytest.mark.parametrize("collective", [_sum, _gather, _wait, _backward])
def test_killed_process_ends_the_others_long_before_the_timeout(processes, tmp_path, collective):
    with processes.started(_repeat, collective, tmp_path, size=2, timeout_seconds=60) as started:
        _wait_for_files(tmp_path, 2)
        started.send(0, signal.SIGKILL)
        _check_lost(started.outcome(1, within_seconds=20), 1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("collective", [_sum, _gather, _wait])
def test_hanging_process_ends_the_others_after_the_timeout(processes, tmp_path, collective):
    # Long enough to meet on a busy machine.
    with processes.started(_repeat, collective, tmp_path, size=4, timeout_seconds=12) as started:
        _wait_for_files(tmp_path, 4)
        started.send(0, signal.SIGSTOP)
        for rank in (1, 2, 3):
            _check_lost(started.outcome(rank, within_seconds=24), rank, 4)


def _one_fails(group):
    if group.rank == 1:
        raise ConfigError("this process alone is wrong")
    for _ in range(3):
        group.wait()


def test_failing_process_ends_the_others_at_once(processes):
    begin = time.monotonic()
    outcomes = processes.outcomes(_one_fails, size=4, timeout_seconds=60)
    assert time.monotonic() - begin < 10, "long before the timeout"
    assert (outcomes[1].kind, outcomes[1].exit_code) == ("ConfigError", 2)
    for rank in (0, 2, 3):
        _check_lost(outcomes[rank], rank, 4)


def _wrong_elsewhere(group):
    group.wait()
    nn.Linear(2, 3)(torch.zeros(1, 5))


def test_other_runtime_errors_keep_their_name(processes):
    for outcome in processes.outcomes(_wrong_elsewhere, size=2):
        assert outcome.kind == "RuntimeError"
        assert "shapes cannot be multiplied" in outcome.sentence


def _without_memory(group):
    # One that leaves while the other still connects would be lost to it.
    group.wait()

    def all_reduce(value):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    torch.distributed.all_reduce = all_reduce
    group.sum(torch.ones(1))


def test_memory_that_is_short_here_is_no_lost_process(processes):
    for outcome in processes.outcomes(_without_memory, size=2):
        assert outcome.kind == "OutOfMemoryError"
        assert outcome.sentence == "CUDA out of memory. Tried to allocate 20.00 GiB."


def _joined(monkeypatch, environment):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with joined_group(torch.device("cpu"), timeout_seconds=1) as group:
        return group


def test_processes_that_never_come_are_lost_too(monkeypatch):
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    environment = {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
    }
    with pytest.raises(LostProcessError, match=r"^process 2 of 2 waited in vain"):
        _joined(monkeypatch, environment)


def test_a_port_that_is_taken_is_no_lost_process(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environment = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": port}
        with pytest.raises(ConfigError, match=rf"^MASTER_PORT must be free .*, got {port}, where"):
            _joined(monkeypatch, {**environment, "MASTER_ADDR": "127.0.0.1"})


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, "^RANK must be .*, got RANK 2 of WORLD_SIZE 2; start"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "^RANK .* must be a number from 0, got '-1'; start"),
        ({"WORLD_SIZE": "two"}, "^WORLD_SIZE .* must be a number from 0, got 'two'; start"),
        (
            {"WORLD_SIZE": "2"},
            "^WORLD_SIZE 2 needs MASTER_ADDR and MASTER_PORT .*, got none; start",
        ),
    ],
)
def test_environment_that_makes_no_group_is_refused(monkeypatch, environment, sentence):
    with pytest.raises(ConfigError, match=sentence):
        _joined(monkeypatch, environment)


def test_without_torchrun_a_process_is_alone(monkeypatch):
    assert _joined(monkeypatch, {}) == SINGLE
