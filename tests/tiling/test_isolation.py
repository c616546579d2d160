import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from medsimclr.errors import SlideError
from medsimclr.tiling.isolation import run_isolated
from tests.tiling.isolated_work import work


@pytest.mark.parametrize("n_processes", [1, 3])
def test_a_process_that_aborts_is_a_slide_error_and_the_others_go_on(n_processes):
    tasks = ["a", "abort", "b", "exit", "refuse", "c"]
    outcomes = dict(run_isolated(work, tasks, n_processes=n_processes))
    assert {task: outcomes.pop(task) for task in ("a", "b", "c")} == {"a": "a", "b": "b", "c": "c"}
    assert all(isinstance(outcome, SlideError) for outcome in outcomes.values())
    assert {task: str(error) for task, error in outcomes.items()} == {
        "abort": "its reader ended by signal SIGABRT; the file is damaged, or memory ran out",
        "exit": "its reader ended by exit code 7; the file is damaged, or memory ran out",
        "refuse": "this slide is no good",
    }


def test_an_unexpected_error_reaches_the_parent():
    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(run_isolated(work, ["a", "crash", "b"], n_processes=2))


def test_no_task_is_no_process():
    assert list(run_isolated(work, [], n_processes=2)) == []


_PARENT = """
import sys
from pathlib import Path
from medsimclr.tiling.isolation import run_isolated
from tests.tiling.isolated_work import wait_for_ever
if __name__ == "__main__":
    list(run_isolated(wait_for_ever, [Path(sys.argv[1])], n_processes=1))
"""


def test_a_child_ends_with_its_killed_parent_and_writes_no_more(tmp_path):
    pid_file = tmp_path / "pid"
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(pid_file)], env={**os.environ, "PYTHONPATH": path}
    )
    while not pid_file.exists():
        assert parent.poll() is None, "the parent ended by itself"
    child = os.pidfd_open(int(pid_file.read_text()))
    parent.kill()
    parent.wait()
    poll = select.poll()
    poll.register(child, select.POLLIN)
    ended = poll.poll(20_000)
    os.close(child)
    assert ended
