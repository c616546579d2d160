"""Run commands with a fault at the n-th operation on the files below a folder; see fault.c."""

import json
import mmap
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import pytest

__all__ = ["COMMAND", "WRITES", "Control", "Fault", "Outcome", "Warm", "build_shim", "snapshot"]

COMMAND = [sys.executable, "-c", "from medsimclr.cli.main import main; main()"]
_FOLDER = Path(__file__).parent
_LOGGED, _LOG_BYTES, _ROOT_BYTES = 16384, 256, 1024
_HEAD = struct.Struct("<IIIIQQII")
WRITES = {"write", "pwrite", "pwrite64", "writev", "pwritev", "pwritev64", "pwritev2",
           "pwritev64v2", "copy_file_range", "sendfile", "sendfile64"}  # fmt: skip


class Fault(IntEnum):
    """What happens at the operation."""

    NONE = 0
    KILL_GROUP = 1
    KILL_ONE = 2
    """Only the process that does it is killed."""
    FULL_DISK = 3
    """It fails with ENOSPC, and so does everything after it that needs room."""
    IO_ERROR = 4
    SHORT_WRITE = 5
    """Half of it is written, and then the disk is full."""
    TORN_WRITE = 6
    """Half of it is written, and then the group is killed."""
    STOP_GROUP = 7
    """The group stands still before it, until it is told to go on."""


def build_shim(folder: Path) -> Path:
    """Compile fault.c."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have a C compiler for the crash harness: apt-get install gcc")
        pytest.skip("there is no C compiler for the crash harness")
    shim = folder / "fault.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-std=gnu11"]
    subprocess.run([*command, _FOLDER / "fault.c", "-o", shim, "-ldl"], check=True)
    return shim


class Control:
    """The control file of one run at a time; `environment` makes a process obey it."""

    def __init__(self, folder: Path, shim: Path) -> None:
        self._path = folder / "control"
        self._path.write_bytes(b"")
        os.truncate(self._path, _HEAD.size + _ROOT_BYTES + _LOGGED * _LOG_BYTES)
        with self._path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self.environment = {"LD_PRELOAD": str(shim), "FAULT_CONTROL": str(self._path)}

    def arm(self, root: Path, fault: Fault, n: int, *, reads: bool = False, sync: bool = False):
        """Count from 0 on, and do `fault` at operation `n`, from 1."""
        assert root == root.resolve()
        self._memory[_HEAD.size : _HEAD.size + _ROOT_BYTES] = os.fsencode(root).ljust(
            _ROOT_BYTES, b"\0"
        )
        _HEAD.pack_into(self._memory, 0, 1, reads, fault, 0, n, 0, 0, not sync)

    def disarm(self) -> None:
        """Let everything through from now on; counter, log and `fired` stay."""
        self._memory[:4] = bytes(4)

    @property
    def fired(self) -> int:
        """Process id of the one that the fault has happened to, or 0."""
        return int(_HEAD.unpack_from(self._memory)[3])

    @property
    def log(self) -> list[tuple[str, str]]:
        """The operations since `arm`: name, and path below the root."""
        count = _HEAD.unpack_from(self._memory)[5]
        assert count <= _LOGGED, "the run is too large to be logged"
        start = _HEAD.size + _ROOT_BYTES
        offsets = range(start, start + count * _LOG_BYTES, _LOG_BYTES)
        lines = (self._memory[offset : offset + _LOG_BYTES] for offset in offsets)
        texts = (os.fsdecode(line[: line.index(b"\0")]) for line in lines)
        return [tuple(text.split(" ", 1)) for text in texts]

    @property
    def n_written(self) -> int:
        """Number of the last write in the log, from 1."""
        return max(i for i, (name, _) in enumerate(self.log, 1) if name in WRITES)


@dataclass(frozen=True)
class Outcome:
    """How one command ended: exit code, or minus the number of its signal; and what it said."""

    code: int | str
    output: str


class Warm:
    """A process that has imported medsimclr and runs commands in forks of itself."""

    def __init__(self, folder: Path, control: Control) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, _FOLDER / "warm.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **control.environment, "OMP_NUM_THREADS": "1"},
            cwd=_FOLDER.parents[1],
        )
        if self._process.stdout.readline() != "ready\n":
            self.close()
            pytest.fail("medsimclr cannot be imported with the fault shim loaded; see stderr")

    def run(self, *commands: list[object]) -> list[Outcome]:
        """Run commands at the same time; give their outcomes when all their processes ended."""
        logs = [self._folder / f"output_{i}" for i in range(len(commands))]
        requests = [
            {"words": [str(word) for word in words], "log": str(log)}
            for words, log in zip(commands, logs, strict=True)
        ]
        self._process.stdin.write(json.dumps(requests) + "\n")
        self._process.stdin.flush()
        codes = json.loads(self._process.stdout.readline())
        texts = [log.read_text(errors="replace") for log in logs]
        return [Outcome(code, text) for code, text in zip(codes, texts, strict=True)]

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=30)


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Return everything below a folder: the bytes of files, or "folder"."""
    found: dict[str, bytes | str] = {}
    for parent, folders, files in os.walk(folder):
        place = Path(parent).relative_to(folder).as_posix()
        for name in folders:
            found[f"{place}/{name}"] = "folder"
        for name in files:
            with open(f"{parent}/{name}", "rb") as file:  # noqa: PTH123 (ten times faster)
                found[f"{place}/{name}"] = file.read()
    return found
