import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medsimclr.errors import ConfigError, LockedError
from medsimclr.files.lock import exclusive_lock

_TRY = """
import sys
from pathlib import Path
from medsimclr.errors import LockedError
from medsimclr.files.lock import exclusive_lock
try:
    with exclusive_lock(Path(sys.argv[1])):
        print("held")
        if sys.argv[2] == "wait":
            sys.stdout.flush()
            sys.stdin.read()
except LockedError as error:
    print(error)
"""


def _other_process(folder, mode):
    return subprocess.Popen(
        [sys.executable, "-c", _TRY, str(folder), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_second_process_is_refused_at_once(tmp_path):
    with exclusive_lock(tmp_path / "store.zarr"):
        said, _ = _other_process(tmp_path / "store.zarr", "try").communicate(timeout=30)
    assert "store.zarr' is being written by another process; wait until it ends" in said


def test_a_killed_process_frees_its_lock(tmp_path):
    other = _other_process(tmp_path / "store.zarr", "wait")
    assert other.stdout.readline() == "held\n"
    with (
        pytest.raises(LockedError, match="being written by another process"),
        exclusive_lock(tmp_path / "store.zarr"),
    ):
        pytest.fail("two processes hold the lock")
    other.kill()
    other.communicate(timeout=30)
    with exclusive_lock(tmp_path / "store.zarr"):
        pass


def test_the_lock_leaves_nothing_inside_the_folder(tmp_path):
    folder = tmp_path / "deep" / "store.zarr"
    with exclusive_lock(folder):
        assert list(folder.iterdir()) == []


def test_a_file_where_the_folder_should_be_is_refused(tmp_path):
    (tmp_path / "store.zarr").write_text("a file")
    for folder in (tmp_path / "store.zarr", tmp_path / "store.zarr" / "below"):
        with pytest.raises(ConfigError, match="--out needs a folder"), exclusive_lock(folder):
            pytest.fail("locked a file")


def test_a_new_folder_and_its_parents_are_on_the_disk(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: flushed.append(Path(f"/proc/self/fd/{handle}").readlink())
    )
    with exclusive_lock(tmp_path / "deep" / "store.zarr"):
        assert set(flushed) == {tmp_path, tmp_path / "deep"}


# A run with one helper, which tells its process id and then waits for ever.
_RUN_WITH_HELPER = """
import multiprocessing, sys
from pathlib import Path
from medsimclr.files.lock import exclusive_lock
from tests.files.lock_helper import hold

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    with exclusive_lock(Path(sys.argv[1])) as lock:
        helper = context.Process(target=hold, args=(lock, sys.argv[2]))
        helper.start()
        helper.join()
"""


def test_a_lock_outlives_its_killed_process_while_a_helper_writes(tmp_path):
    store, pipe = tmp_path / "store.zarr", tmp_path / "pipe"
    os.mkfifo(pipe)
    script = tmp_path / "run.py"
    script.write_text(_RUN_WITH_HELPER)
    run = subprocess.Popen(
        [sys.executable, script, store, pipe],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    with pipe.open() as said:
        helper = int(said.readline())
    run.kill()
    run.wait(timeout=30)
    with pytest.raises(LockedError), exclusive_lock(store):
        pytest.fail("a second writer beside the helper")
    ended = os.pidfd_open(helper)
    os.kill(helper, signal.SIGKILL)
    select.select([ended], [], [], 30)
    os.close(ended)
    with exclusive_lock(store):
        pass
