"""Run `medsimclr` commands in forks of this process, which has imported everything once.

Started by harness.py with the fault shim preloaded; speaks JSON lines on stdin and stdout. A start
of Python for each fault would take seconds, a fork takes milliseconds.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import multiprocessing
import os
import pkgutil
import signal
import sys
import traceback
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_ORPHAN_SECONDS = 20


def _import_everything():
    for name in ("files", "slides", "store", "tiling"):
        package = importlib.import_module(f"medsimclr.{name}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    from PIL import Image
    from typer.main import get_command

    from medsimclr.cli.main import app

    Image.init()
    # Memory that no fork touches is never copied.
    gc.collect()
    gc.freeze()
    return get_command(app)


def _child(command, words, log):
    os.setpgid(0, 0)
    with Path(log).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # Slides are read in processes of a forkserver, which takes seconds to start; what they do to
    # the files is the same. test_trace.py and test_real_processes.py run the real thing.
    get_context = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: get_context("fork")
    code = 1
    try:
        command(words)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _too_long(*_):
    raise TimeoutError


def _wait(pid):
    """Return how the command ended, once the last process of its group has ended too."""
    status = None
    signal.alarm(_ORPHAN_SECONDS)
    try:
        while True:
            ended, how = os.waitpid(-pid, 0)
            if ended == pid:
                status = os.waitstatus_to_exitcode(how)
    except ChildProcessError:
        return status
    except TimeoutError:
        os.killpg(pid, signal.SIGKILL)
        return "a process was still there after the command had ended"
    finally:
        signal.alarm(0)


def _start(command, request):
    pid = os.fork()
    if pid == 0:
        sys.stdin.close()
        _child(command, request["words"], request["log"])
    with contextlib.suppress(PermissionError, ProcessLookupError):  # the child was first
        os.setpgid(pid, pid)
    return pid


def _serve():
    command = _import_everything()
    # Orphans become children of this process, which can then wait for their end.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGALRM, _too_long)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        pids = [_start(command, request) for request in json.loads(line)]
        sys.stdout.write(json.dumps([_wait(pid) for pid in pids]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
