"""Faults and two writers on the command line itself: started anew, with its own processes."""

import contextlib
import os
import select
import signal
import subprocess

import pytest

from tests.faults.harness import COMMAND, Control, Fault, snapshot

pytestmark = pytest.mark.slow

_SECONDS = 120


class Run:
    """`medsimclr tile` on the small slides into `out`."""

    def __init__(self, folder, shim, inputs):
        self.out = folder / "out"
        self.out.mkdir()
        self.control = Control(folder, shim)
        options = ["--mpp", "0.5", "--tile-px", "32", "--min-tissue", "0", "--set", "shard_tiles=4"]
        self._started: list[subprocess.Popen[str]] = []
        self._words = ["tile", inputs / "slides", "--out", self.out / "s.zarr", *options]

    def start(self):
        """Start a process in a group of its own, which obeys the control file."""
        process = subprocess.Popen(
            [*COMMAND, *map(str, self._words)],
            env={**os.environ, **self.control.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def end(self):
        """Kill whatever a failed test has left."""
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=_SECONDS)

    def to_its_end(self):
        """Run it; return exit code and output."""
        process = self.start()
        output, _ = process.communicate(timeout=_SECONDS)
        return process.returncode, output

    def stopped_at(self, n):
        """Start it; return when operation `n` has stopped it and all its processes."""
        self.control.arm(self.out, Fault.STOP_GROUP, n)
        process = self.start()
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self.control.disarm()
        assert self.control.fired
        return process


@pytest.fixture
def run(tmp_path, shim, inputs):
    run = Run(tmp_path.resolve(), shim, inputs)
    yield run
    run.end()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, shim, inputs):
    """Return the bytes of an undisturbed run and its log."""
    run = Run(tmp_path_factory.mktemp("finished").resolve(), shim, inputs)
    run.control.arm(run.out, Fault.NONE, 0)
    code, output = run.to_its_end()
    run.control.disarm()
    run.end()
    assert code == 0, output
    return snapshot(run.out), run.control.log


def _number(log, operation, path):
    """Return the number of an operation, from 1."""
    return next(i for i, entry in enumerate(log, 1) if entry == (operation, path))


def test_forks_of_a_warm_process_do_what_real_processes_do(finished, jobs):
    after, log = finished
    assert after == jobs["slides"].after
    # The lock's handle goes to every process of the real run, and is closed by some.
    real, warm = (
        sorted(entry for entry in one if entry != ("close", "/.s.zarr.lock"))
        for one in (log, jobs["slides"].log)
    )
    assert real == warm


@pytest.mark.parametrize(
    ("fault", "code", "text"),
    [
        (Fault.KILL_GROUP, -signal.SIGKILL, ""),
        (Fault.KILL_ONE, 3, "refused b: "),
        (Fault.FULL_DISK, 5, "must be writable and have room, got 'No space left on device'"),
        (Fault.IO_ERROR, 5, "must be writable and have room, got 'Input/output error'"),
    ],
    ids=lambda value: value.name.lower() if isinstance(value, Fault) else None,
)
def test_a_fault_in_a_real_process_is_made_good(run, finished, fault, code, text):
    after, log = finished
    run.control.arm(run.out, fault, _number(log, "rename", "/s.zarr/b/zarr.json"))
    ended, output = run.to_its_end()
    run.control.disarm()
    assert run.control.fired
    assert (ended, "Traceback" in output) == (code, False), output
    assert text in output
    assert not (run.out / "s.zarr" / "b" / "zarr.json").exists()
    ended, output = run.to_its_end()
    assert ended == 0, output
    assert snapshot(run.out) == after


def test_the_second_of_two_processes_ends_at_once_and_the_first_goes_on(run, finished):
    after, log = finished
    first = run.stopped_at(_number(log, "rename", "/s.zarr/a/zarr.json"))
    # The first stands still in the middle of a slide: the second did not wait for it.
    code, output = run.to_its_end()
    assert code == 6, output
    assert "is being written by another process; wait until it ends" in output
    os.killpg(first.pid, signal.SIGCONT)
    output, _ = first.communicate(timeout=_SECONDS)
    assert first.returncode == 0, output
    assert snapshot(run.out) == after


def test_a_reader_that_outlives_its_killed_run_keeps_the_next_run_away(run, finished):
    """Else it would write one more file into what the next run has written."""
    after, log = finished
    first = run.stopped_at(_number(log, "rename", "/s.zarr/a/zarr.json"))
    reader = os.pidfd_open(run.control.fired)
    first.kill()
    first.wait(timeout=_SECONDS)
    code, output = run.to_its_end()
    assert code == 6, output
    os.killpg(first.pid, signal.SIGCONT)
    assert select.select([reader], [], [], _SECONDS)[0], "the reader did not end with its run"
    os.close(reader)
    code, output = run.to_its_end()
    assert code == 0, output
    assert snapshot(run.out) == after


def test_of_two_processes_started_together_none_harms_the_other(run, finished):
    after, _ = finished
    both = [run.start(), run.start()]
    outputs = [process.communicate(timeout=_SECONDS)[0] for process in both]
    # The second may also come when the first has ended, and find everything there.
    assert sorted(process.returncode for process in both) in ([0, 6], [0, 0]), outputs
    assert snapshot(run.out) == after


def test_many_races_leave_one_whole_store_and_one_exit_6(rig, jobs):
    job = jobs["slides"]
    codes = []
    for _ in range(20):
        rig.start(job)
        outcomes = rig.warm.run(rig.command(job), rig.command(job))
        codes.append(sorted(outcome.code for outcome in outcomes))
        assert codes[-1] in ([0, 6], [0, 0]), outcomes
        assert snapshot(rig.out) == job.after
    assert [0, 6] in codes
