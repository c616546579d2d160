"""Flushes stand before and after every commit, in a real system-call trace of the command line."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.harness import COMMAND, WRITES, Control, Fault
from tests.faults.trace import parse, strace_command, unflushed

_LOCK = ".s.zarr.lock"


@pytest.fixture(scope="module")
def traced(tmp_path_factory, shim, inputs):
    """Return output folder, calls and shim log of `medsimclr tile`, with its own processes."""
    place = tmp_path_factory.mktemp("traced").resolve()
    out = place / "out"
    out.mkdir()
    control = Control(place, shim)
    control.arm(out, Fault.NONE, 0, sync=True)
    environment = [part for item in control.environment.items() for part in ("-E", "=".join(item))]
    options = ["--mpp", "0.5", "--tile-px", "32", "--min-tissue", "0", "--set", "shard_tiles=4"]
    words = ["tile", inputs / "slides", "--out", out / "s.zarr", *options]
    command = [*strace_command(place / "trace"), *environment, *COMMAND, *words]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    control.disarm()
    assert result.returncode == 0, result.stderr
    return out, parse((place / "trace").read_text().splitlines()), control.log


def _unflushed(calls, out):
    return unflushed(calls, out, commit="zarr.json", ignored=_LOCK)


def test_every_commit_waits_for_what_it_commits_and_is_flushed_itself(traced):
    out, calls, _ = traced
    renamed = [call.paths[-1] for call in calls if call.name.startswith("rename")]
    commits = [path for path in renamed if path.endswith("zarr.json")]
    names = ["s.zarr/zarr.json", "s.zarr/a/zarr.json", "s.zarr/b/zarr.json"]
    assert commits == [str(out / name) for name in names]
    assert _unflushed(calls, out) == []


def test_without_the_flush_of_any_path_a_commit_would_not_be_sound(traced):
    out, calls, _ = traced
    flushed = {call.paths[0] for call in calls if call.name in ("fsync", "fdatasync")}
    assert len(flushed) > 30
    for path in flushed:
        kept = [c for c in calls if c.name not in ("fsync", "fdatasync") or c.paths[0] != path]
        assert any(path in fault for fault in _unflushed(kept, out)), path


def test_the_harness_counts_what_the_kernel_sees(traced):
    out, calls, log = traced
    counted = Counter((_kind(name), path) for name, path in log if name != "close")
    seen = Counter()
    for call in calls:
        is_read = call.name in ("open", "openat") and not re.search(
            "O_CREAT|O_WR|O_RDWR", call.arguments
        )
        below = [path for path in call.paths if Path(path).is_relative_to(out)]
        if below and not is_read and call.name != "mmap":
            seen[_kind(call.name), below[-1].removeprefix(str(out))] += 1
    assert counted == seen


def _kind(name):
    if name in WRITES:
        return "write"
    return {"fdatasync": "fsync", "creat": "open"}.get(
        name, name.removesuffix("64").removesuffix("at")
    )


_SOUND = """\
1 mkdir("/r/s", 0777) = 0
1 fsync(3</r>) = 0
1 openat(AT_FDCWD</w>, "/r/s/data", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</r/s/data>
1 write(3</r/s/data>, ""..., 9) = 9
2 fsync(3</r/s/data> <unfinished ...>
1 fsync(4</r/s>) = 0
2 <... fsync resumed>) = 0
1 openat(AT_FDCWD</w>, "/r/s/zarr.json.partial", O_WRONLY|O_CREAT, 0666) = 3</r/s/zarr.json.partial>
1 write(3</r/s/zarr.json.partial>, ""..., 9) = 9
1 fsync(3</r/s/zarr.json.partial>) = 0
1 rename("/r/s/zarr.json.partial", "/r/s/zarr.json") = 0
1 fsync(3</r/s>) = 0
""".splitlines()


def test_a_sound_trace_is_accepted():
    assert unflushed(parse(_SOUND), Path("/r"), commit="zarr.json", ignored=_LOCK) == []


@pytest.mark.parametrize(
    ("line", "moved_to", "fault"),
    [
        (1, None, "before the commit of /r/s/zarr.json: the name /r/s"),
        (3, 5, "before the commit of /r/s/zarr.json: the content of /r/s/data"),
        (5, None, "before the commit of /r/s/zarr.json: the name /r/s/data"),
        (6, 10, "before the commit of /r/s/zarr.json: the content of /r/s/data"),
        (9, None, "before the commit of /r/s/zarr.json: the content of /r/s/zarr.json.partial"),
        (11, None, "at the end: the name /r/s/zarr.json"),
    ],
    ids=["no-parent", "write-during", "no-folder", "late-end", "no-file", "no-folder-after"],
)
def test_a_flush_that_is_missing_too_early_or_too_late_is_found(line, moved_to, fault):
    lines = list(_SOUND)
    taken = lines.pop(line)
    if moved_to is not None:
        lines.insert(moved_to, taken)
    assert fault in unflushed(parse(lines), Path("/r"), commit="zarr.json", ignored=_LOCK)
