"""Read a system-call trace of strace and say what a commit did not wait for.

A name or a file's content is on the disk when its folder or the file was flushed after the last
change of it, start after end (see `man 2 fsync`).
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import pytest

__all__ = ["Call", "parse", "strace_command", "unflushed"]

_WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile")
_COPIES = ("copy_file_range", "splice")
_SIZES = ("ftruncate", "truncate", "fallocate")
_FLUSHES = ("fsync", "fdatasync")
_NAMES = ("mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat",
          "rmdir", "rename", "renameat", "renameat2")  # fmt: skip
_CALLS = (*_WRITES, *_COPIES, *_SIZES, *_FLUSHES, *_NAMES, "open", "openat", "creat", "mmap")
_LINE = re.compile(r"(?P<pid>\d+) +(?P<text>.*)")
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<text>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|0x[0-9a-f]+)")
# A handle with its path, alone or as the folder of the name that follows it; or a name.
_PATH = re.compile(
    r'(?:AT_FDCWD|\d+)<(?P<handle>/[^>]*)>(?:, "(?P<below>[^"]*)")?|"(?P<name>[^"]*)"'
)


@dataclass(frozen=True)
class Call:
    """One system call: its paths, and the numbers of the lines where it began and ended."""

    name: str
    paths: tuple[str, ...]
    arguments: str
    succeeded: bool
    start: int
    end: int


def strace_command(trace: Path) -> list[object]:
    """Return the words before a command that write its trace.

    Skips the test where strace is missing or not allowed, and fails it in CI.
    """
    strace = shutil.which("strace")
    check = [strace, "-o", "/dev/null", "true"]
    if strace is None or subprocess.run(check, capture_output=True, check=False).returncode:
        reason = "strace is needed, with leave to trace: apt-get install strace"
        if os.environ.get("CI"):
            pytest.fail(f"CI must prove the order of flushes; {reason}")
        pytest.skip(reason)
    return [strace, "-f", "-y", "-qq", "-s", "0", "-e", f"trace={','.join(_CALLS)}", "-o", trace]


def parse(lines: Sequence[str]) -> list[Call]:
    """Return the calls of all processes in the order of their ends."""
    begun: dict[str, tuple[int, str]] = {}
    calls = []
    for number, line in enumerate(lines):
        match = _LINE.fullmatch(line)
        assert match, line
        pid, text, start = match["pid"], match["text"], number
        if text.endswith("<unfinished ...>"):
            begun[pid] = (number, text.removesuffix("<unfinished ...>").rstrip())
            continue
        if resumed := _RESUMED.fullmatch(text):
            start, beginning = begun.pop(pid)
            text = beginning + resumed["text"].lstrip()
        if call := _CALL.match(text):
            succeeded = not call["result"].startswith("-")
            paths = tuple(_paths(call["arguments"]))
            calls.append(Call(call["name"], paths, call["arguments"], succeeded, start, number))
    return calls


def _paths(arguments: str) -> list[str]:
    found = []
    for match in _PATH.finditer(arguments):
        folder, name = match["handle"], match["below"] if match["handle"] else match["name"]
        # strace prints the bytes of a write as a text too; with -s 0 it is empty.
        if folder and not name:
            found.append(folder)
        elif name:
            found.append(os.path.join(folder or "/", name))  # noqa: PTH118
    return found


@dataclass
class _Disk:
    """When each name below the root and each file's content changed, and when it was flushed."""

    names: dict[tuple[str, str], int] = field(default_factory=dict)
    contents: dict[str, int] = field(default_factory=dict)
    flushes: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    is_mapped: list[str] = field(default_factory=list)

    def apply(self, call: Call) -> None:
        match call.name:
            case "open" | "openat" | "creat" if _creates(call):
                self._name(call.paths[0], call.end)
                self.contents[call.paths[0]] = call.end
            case "open" | "openat" if "O_TRUNC" in call.arguments:
                self.contents[call.paths[0]] = call.end
            case name if name in _WRITES or name in _SIZES:
                self.contents[call.paths[0]] = call.end
            case name if name in _COPIES:
                self.contents[call.paths[1]] = call.end
            case name if name in _FLUSHES:
                self.flushes.setdefault(call.paths[0], []).append((call.start, call.end))
            case "mmap" if "MAP_SHARED" in call.arguments and "PROT_WRITE" in call.arguments:
                self.is_mapped += call.paths
            case "mkdir" | "mkdirat" | "link" | "linkat" | "symlink" | "symlinkat":
                self._name(call.paths[-1], call.end)
            case "unlink" | "unlinkat" | "rmdir":
                self._move(call.paths[0], None)
                self._name(call.paths[0], call.end)
            case "rename" | "renameat" | "renameat2":
                self._move(*call.paths)
                for path in call.paths:
                    self._name(path, call.end)

    def unflushed(self, *, before: int, but: Sequence[str] = ()) -> list[str]:
        """Name what had changed and was not flushed; `but` are paths whose name may be pending."""
        names = [
            f"the name {folder}/{name}"
            for (folder, name), changed in self.names.items()
            if f"{folder}/{name}" not in but and not self._is_flushed(folder, changed, before)
        ]
        contents = [
            f"the content of {path}"
            for path, changed in self.contents.items()
            if not self._is_flushed(path, changed, before)
        ]
        return names + contents + [f"{path}, written through memory" for path in self.is_mapped]

    def _is_flushed(self, path: str, changed: int, before: int) -> bool:
        flushes = self.flushes.get(path, [])
        return any(changed < start and end < before for start, end in flushes)

    def _name(self, path: str, end: int) -> None:
        parent, name = os.path.split(path)
        self.names[parent, name] = end

    def _move(self, old: str, new: str | None) -> None:
        """Rename everything at and below a path, or forget it."""

        def moved(path: str) -> str | None:
            if PurePath(path).is_relative_to(old):
                return None if new is None else new + path[len(old) :]
            return path

        if new is not None:
            self._move(new, None)
        self.contents = {p: end for path, end in self.contents.items() if (p := moved(path))}
        self.flushes = {p: ends for path, ends in self.flushes.items() if (p := moved(path))}
        self.names = {
            (p, name): end for (folder, name), end in self.names.items() if (p := moved(folder))
        }


def _creates(call: Call) -> bool:
    return call.name == "creat" or "O_CREAT" in call.arguments


def unflushed(calls: Sequence[Call], root: Path, *, commit: str, ignored: str) -> list[str]:
    """Say what was not on the disk when it had to be.

    Args:
        calls: a trace, of one writing process at a time.
        root: only what happens below this folder counts, its own entries included.
        commit: a file that appears by a rename under this name is a commit.
        ignored: a file below `root` that need not last.
    """
    disk = _Disk()
    faults = []
    n_commits = 0
    for call in calls:
        paths = tuple(path for path in call.paths if PurePath(path).is_relative_to(root))
        if not paths or not call.succeeded or paths[0] == str(root / ignored):
            continue
        if call.name.startswith("rename") and PurePath(paths[-1]).name == commit:
            n_commits += 1
            missing = disk.unflushed(before=call.start, but=call.paths)
            faults += [f"before the commit of {paths[-1]}: {what}" for what in missing]
        disk.apply(call)
    assert n_commits, "the trace holds no commit"
    return faults + [f"at the end: {what}" for what in disk.unflushed(before=calls[-1].end + 1)]
