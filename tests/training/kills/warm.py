"""Run trainings in forks of this process, which has imported everything once and killed nothing.

Speaks JSON lines on stdin and stdout; see starts.py. A start of Python with torch takes seconds, a
fork takes milliseconds. The network is a narrow one, so that a step takes milliseconds too.
"""

import ctypes
import gc
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import torch
import torch._dynamo  # what the first optimizer of a process would import
from typer.main import get_command

import medsimclr.augment  # noqa: F401
from medsimclr.augment.discovery import load_policy
from medsimclr.cli.main import app
from medsimclr.models import resnet
from medsimclr.training import distill, finetune, pretrain  # noqa: F401
from tests.training.kills.points import (
    POINTS,
    Kill,
    be_slow,
    poison,
    say_when_signals_are_remembered,
)

_CHANNELS = 4
_PR_SET_CHILD_SUBREAPER = 36
_ORPHAN_SECONDS = 3
"""Less than the 5 s after which a loader worker of torch looks for its parent."""


def _import_everything():
    torch.set_num_threads(1)
    resnet._BASE_CHANNELS = _CHANNELS
    load_policy("simclr", options={})
    # Memory that no fork touches is never copied.
    gc.collect()
    gc.freeze()
    return get_command(app)


def _train(command, request, rank):
    """Run one rank to its end; never returns."""
    code = 1
    try:
        with Path(request["logs"][rank]).open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        n_ranks = len(request["logs"])
        if n_ranks > 1:
            os.environ |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(n_ranks),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(request["port"]),
                "TORCHELASTIC_USE_AGENT_STORE": "True",
            }
        _patch(request, rank)
        command(request["words"])
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _patch(request, rank):
    kill, signalled, poisoned = (request[key] for key in ("kill", "signal", "poisoned"))
    if kill is not None and kill["rank"] == rank:
        POINTS[kill["point"]](
            Kill(n=kill["n"], whole_group=kill["whole_group"], fired=Path(kill["fired"]))
        )
    if signalled is not None:
        be_slow(signalled["step_seconds"])
        say_when_signals_are_remembered(Path(f"{signalled['remembered']}_{rank}"))
    if poisoned is not None and poisoned["rank"] == rank:
        poison(poisoned["n"])


def _start(command, request):
    pids = []
    for rank in range(len(request["logs"])):
        pid = os.fork()
        leader = pids[0] if pids else pid
        if pid == 0:
            os.setpgid(0, leader)
            sys.stdin.close()
            _train(command, request, rank)
        os.setpgid(pid, leader)
        pids.append(pid)
    return pids


class _Sender:
    """Sends a signal, a moment after files are there."""

    def __init__(self, signalled, pids):
        self._pids = pids
        self._signalled = signalled
        self._at = None

    def poll(self):
        if self._signalled is None:
            return
        files = [Path(path) for path in self._signalled["after"]]
        if self._at is None and all(path.exists() and path.stat().st_size for path in files):
            self._at = time.monotonic() + self._signalled["seconds"]
        if self._at is not None and time.monotonic() >= self._at:
            number, rank = self._signalled["number"], self._signalled["rank"]
            if rank is None:
                os.killpg(self._pids[0], number)
            else:
                os.kill(self._pids[rank], number)
            self._signalled = None


def _wait(pids, seconds, sender):
    """Return how each rank ended; what does not end in time is killed and called hanging."""
    codes = {}
    deadline = time.monotonic() + seconds
    while len(codes) < len(pids):
        sender.poll()
        for pid in set(pids) - codes.keys():
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                codes[pid] = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                codes[pid] = "hanging"
        time.sleep(0.002)
    return [codes[pid] for pid in pids]


def _orphans_end(group):
    """Return whether what the ranks left behind, their loader workers, ends by itself."""
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while time.monotonic() < deadline:
        try:
            os.waitpid(-group, os.WNOHANG)
        except ChildProcessError:
            return True
        time.sleep(0.002)
    os.killpg(group, signal.SIGKILL)
    return False


def _serve():
    command = _import_everything()
    # Orphans become children of this process, which can then wait for their end.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        request = json.loads(line)
        pids = _start(command, request)
        codes = _wait(pids, request["seconds"], _Sender(request["signal"], pids))
        sys.stdout.write(json.dumps([codes, _orphans_end(pids[0])]) + "\n")
        sys.stdout.flush()


def _under_torchrun():
    """Run the command of this process's own command line, to be killed as $KILL says."""
    command = _import_everything()
    kill = json.loads(os.environ["KILL"])
    if kill is not None and kill["rank"] == int(os.environ["RANK"]):
        POINTS[kill["point"]](Kill(n=kill["n"], whole_group=False, fired=Path(os.devnull)))
    command()


if __name__ == "__main__":
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _under_torchrun()
    else:
        _serve()
