"""Nothing lost: a fault at any operation of a run, then the same command again.

Every operation on the files of the output is met by every fault; see fault.c.
"""

from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest

from tests.faults.conftest import Job, Rig
from tests.faults.harness import WRITES, Fault, Outcome, snapshot

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_KILLED = -9
_SHOWN = 600
_FAILS = (Fault.FULL_DISK, Fault.IO_ERROR, Fault.SHORT_WRITE)
_OF_WRITES = (Fault.SHORT_WRITE, Fault.TORN_WRITE)
# Images are read in the one process that there is.
_FAULTS = {
    "slides": [fault for fault in Fault if 1 <= fault <= Fault.TORN_WRITE],
    "resume": [Fault.KILL_GROUP, Fault.KILL_ONE, Fault.FULL_DISK, Fault.IO_ERROR],
    "images": [Fault.KILL_GROUP, Fault.FULL_DISK, Fault.IO_ERROR],
    "large": [Fault.SHORT_WRITE],
    "overwrite": [Fault.KILL_GROUP, Fault.FULL_DISK, Fault.IO_ERROR],
}


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        pytest.param(name, fault, id=f"{name}-{fault.name.lower()}")
        for name, faults in _FAULTS.items()
        for fault in faults
    ],
)
def test_after_a_fault_the_same_command_gives_the_same_bytes(rigs, jobs, name, fault):
    job = jobs[name]
    numbers = [
        n
        for n, (operation, _) in enumerate(job.log, 1)
        if fault not in _OF_WRITES or operation in WRITES
    ]
    free = SimpleQueue()
    for rig in rigs:
        free.put(rig)

    def check(n: int) -> str | None:
        rig = free.get()
        try:
            return _wrong(rig, job, fault, n)
        finally:
            free.put(rig)

    with ThreadPoolExecutor(len(rigs)) as pool:
        wrong = [reason for reason in pool.map(check, numbers) if reason]
    assert not wrong, _summary(wrong, len(numbers))


def _wrong(rig: Rig, job: Job, fault: Fault, n: int) -> str | None:
    """Let the fault happen, then run the job again; say what is not as it must be."""
    rig.start(job)
    outcome = rig.run(job, fault, n)
    if not rig.control.fired:
        return f"{n}: the fault did not happen"
    operation = " ".join(rig.control.log[n - 1])
    reason = _wrong_end(rig, job, fault, outcome) or _wrong_rest(rig, job) or _lost(rig, job)
    return f"{n} {operation}: {reason}" if reason else None


def _wrong_end(rig: Rig, job: Job, fault: Fault, outcome: Outcome) -> str | None:
    if "Traceback" in outcome.output:
        return "ended with a traceback: " + outcome.output[-_SHOWN:]
    if fault is Fault.IO_ERROR and outcome.code == 0 and snapshot(rig.out) == job.after:
        return None  # a folder that could not be made was there already
    if fault in _FAILS:
        is_right = outcome.code == 5 and "must be writable and have room" in outcome.output
    elif fault is Fault.KILL_ONE and outcome.code != _KILLED:
        # A reader was killed: its slide is refused, the other one is there.
        is_right = outcome.code == 3 and "ended by signal SIGKILL" in outcome.output
    else:
        is_right = outcome.code == _KILLED
    return None if is_right else f"ended with {outcome.code}: {outcome.output[-_SHOWN:]}"


def _wrong_rest(rig: Rig, job: Job) -> str | None:
    """Say which slide passes for complete after the fault, and is not."""
    left = snapshot(rig.out)
    for slide in job.slides:
        if f"{slide}/zarr.json" in left:
            now, old, new = (_of_slide(found, slide) for found in (left, job.old, job.after))
            if now not in (old, new):
                return f"{slide} is committed and differs in {_differing(now, new)}"
    return None


def _of_slide(found: dict[str, bytes | str], slide: str) -> dict[str, bytes | str]:
    return {name: content for name, content in found.items() if name.startswith(f"{slide}/")}


def _lost(rig: Rig, job: Job) -> str | None:
    outcome = rig.run(job)
    if outcome.code != 0:
        return f"the same command again ended with {outcome.code}: {outcome.output[-_SHOWN:]}"
    differing = _differing(snapshot(rig.out), job.after)
    return f"the same command again gave another {differing}" if differing else None


def _differing(first: dict[str, bytes | str], second: dict[str, bytes | str]) -> list[str]:
    names = first.keys() | second.keys()
    return sorted(name for name in names if first.get(name) != second.get(name))[:5]


def _summary(wrong: list[str], n_operations: int) -> str:
    """Show the first of each kind: of those that differ in more than the operation's number."""
    shown: dict[str, str] = {}
    for reason in wrong:
        shown.setdefault(" ".join(reason.split()[1:12:2]), reason)
    return "\n".join([f"{len(wrong)} of {n_operations} operations:", *shown.values()])


def test_a_slide_that_cannot_be_read_is_refused_and_no_fault_of_the_output(rig, jobs, inputs):
    job = jobs["slides"]
    slides = inputs / "slides"
    rig.start(job)
    rig.run(job, reads_below=slides)
    wrong = []
    for n, (operation, path) in enumerate(rig.control.log, 1):
        rig.start(job)
        outcome = rig.run(job, Fault.IO_ERROR, n, reads_below=slides)
        assert rig.control.fired
        is_refused = outcome.code == 3 and f"refused {path[1]}: " in outcome.output
        # Some readers try again another way, and come to the same tiles.
        is_done = outcome.code == 0 and snapshot(rig.out) == job.after
        if "Traceback" in outcome.output or not (is_refused or is_done):
            wrong.append(f"{n} {operation} {path}: {outcome.code} {outcome.output[-_SHOWN:]}")
        elif reason := _wrong_rest(rig, job) or _lost(rig, job):
            wrong.append(f"{n} {operation} {path}: {reason}")
    assert not wrong, "\n".join(wrong)
