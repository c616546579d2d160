import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medsimclr.errors import SlideError
from medsimclr.tiling.isolation import run_isolated
from tests.tiling.isolated_work import BEATS, work


def _run(tasks, *, n_processes=2, memory_mb=300, silent_seconds=60.0):
    return dict(
        run_isolated(
            work,
            tasks,
            n_processes=n_processes,
            memory_mb=memory_mb,
            silent_seconds=silent_seconds,
        )
    )


@pytest.mark.parametrize("n_processes", [1, 3])
def test_a_process_that_aborts_is_a_slide_error_and_the_others_go_on(n_processes):
    tasks = ["a", "abort", "b", "exit", "refuse", "c"]
    outcomes = _run(tasks, n_processes=n_processes)
    assert {task: outcomes.pop(task) for task in ("a", "b", "c")} == {"a": "a", "b": "b", "c": "c"}
    assert all(isinstance(outcome, SlideError) for outcome in outcomes.values())
    assert {task: str(error) for task, error in outcomes.items()} == {
        "abort": "its reader ended by signal SIGABRT; the file is damaged, or memory ran out",
        "exit": "its reader ended by exit code 7; the file is damaged, or memory ran out",
        "refuse": "this slide is no good",
    }


def test_the_last_words_of_a_dead_reader_are_in_the_reason_in_one_printable_line():
    (outcome,) = _run(["die with words"]).values()
    assert str(outcome).endswith(
        "SIGABRT; the file is damaged, or memory ran out; it said: tile\\x1b != NULL"
    )


def test_a_reason_is_one_printable_line_whatever_it_quotes():
    (outcome,) = _run(["refuse a strange name"]).values()
    assert isinstance(outcome, SlideError)
    assert str(outcome) == r"no slide: x\ny \udcff \x1b[2J é 漢.svs"


def test_much_that_libraries_print_blocks_nothing():
    assert _run(["print"], silent_seconds=20.0) == {"print": "print"}


@pytest.mark.parametrize("how", ["bytes", "numpy", "opencv", "wrapped", "slowly"])
def test_a_task_that_needs_too_much_memory_is_a_slide_error(how):
    (outcome,) = _run([f"fill {how}"], memory_mb=300).values()
    assert isinstance(outcome, SlideError)
    assert str(outcome) == (
        "the slide needs more than the 300 MB of memory that one slide may take; it is damaged or "
        "claims too many pixels, else raise --set slide_memory_mb."
    )


def test_memory_within_the_limit_is_given():
    assert _run(["fill slowly"], memory_mb=1500) == {"fill slowly": "fill slowly"}


def test_a_silent_task_is_killed_and_the_others_go_on():
    started = time.monotonic()
    outcomes = _run(["hang", "a", "b"], n_processes=2, silent_seconds=1.0)
    assert time.monotonic() - started < 30
    assert str(outcomes.pop("hang")) == (
        "it gave no tile for 1 s and was given up; the file is damaged or its disk is slow: copy "
        "it anew, or raise --set slide_seconds."
    )
    assert outcomes == {"a": "a", "b": "b"}


def test_a_task_that_says_that_it_lives_may_take_longer_than_its_silence():
    started = time.monotonic()
    assert _run(["beat"], silent_seconds=0.6) == {"beat": "beat"}
    assert time.monotonic() - started > BEATS * 0.1


def test_signs_of_life_count_though_nobody_took_the_results_meanwhile():
    outcomes = run_isolated(
        work, ["a", "beat", "b"], n_processes=2, memory_mb=300, silent_seconds=0.6
    )
    taken = [next(outcomes)]
    time.sleep(1.5)
    assert dict([*taken, *outcomes]) == {"a": "a", "beat": "beat", "b": "b"}


@pytest.mark.parametrize(
    ("task", "kind", "text"),
    [("crash", ZeroDivisionError, "a bug"), ("crash oddly", RuntimeError, "1 and 2")],
)
def test_an_unexpected_error_reaches_the_parent_after_the_other_tasks(task, kind, text):
    outcomes = run_isolated(
        work, ["a", task, "b", "c"], n_processes=2, memory_mb=300, silent_seconds=60.0
    )
    assert sorted(next(outcomes)[0] for _ in range(3)) == ["a", "b", "c"]
    with pytest.raises(kind, match=text) as caught:
        next(outcomes)
    assert "in work" in " ".join([str(caught.value), *caught.value.__notes__])


def test_no_task_is_no_process():
    assert _run([]) == {}


def test_a_run_that_is_left_ends_its_processes():
    outcomes = run_isolated(work, ["a", "hang"], n_processes=2, memory_mb=300, silent_seconds=60.0)
    assert next(outcomes) == ("a", "a")
    started = time.monotonic()
    outcomes.close()
    assert time.monotonic() - started < 5


_SCRIPT = """
from medsimclr.tiling.isolation import run_isolated
from tests.tiling.isolated_work import work
print("started")
print(dict(run_isolated(work, ["a", "print"], n_processes=1, memory_mb=300, silent_seconds=60.0)))
"""


def test_a_script_without_a_guard_is_neither_run_again_nor_sees_what_libraries_print(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    result = subprocess.run(
        [sys.executable, script], env=_environment(), capture_output=True, text=True, check=True
    )
    assert (result.stdout, result.stderr) == ("started\n{'a': 'a', 'print': 'print'}\n", "")


_PARENT = """
import sys
from pathlib import Path
from medsimclr.tiling.isolation import run_isolated
from tests.tiling import isolated_work
work, tasks = getattr(isolated_work, sys.argv[1]), [Path(sys.argv[2])]
list(run_isolated(work, tasks, n_processes=1, memory_mb=300, silent_seconds=600.0))
"""


@pytest.mark.parametrize("work_name", ["wait_for_ever", "hold_python_for_ever"])
def test_a_child_ends_with_its_killed_parent_and_writes_no_more(tmp_path, work_name):
    pid_file = tmp_path / "pid"
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, work_name, str(pid_file)], env=_environment()
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


def _environment():
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}
