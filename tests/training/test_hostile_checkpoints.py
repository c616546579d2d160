"""Runs of unknown origin, through the real commands: refused with a sentence, and no code ran.

Every pickle here would make a file, the canary, if anything of it were unpickled.
"""

import io
import json
import os
import pickle
import shutil
import socket
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny_store import write_tiny_store
from tests.training.kills.starts import Starts
from tests.training.signed import as_earlier_version, sign

SETTINGS = ["--device", "cpu", "--batch-size", "4", "--epochs", "1", "--workers", "0"]
SETTINGS += ["--set", "precision=fp32"]


class Bomb:
    """Unpickled, it makes the canary."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self._canary}",)


@dataclass(frozen=True)
class Attack:
    """What is done to the only checkpoint of a run, and what is then said."""

    act: Callable[[Path, bytes], None]
    """Gets its folder and a pickle."""
    sentence: str = ""
    """In the output of all three commands."""
    resumed: int = 7
    """Exit code of the command that made the run."""
    used: int = 7
    """Exit code of finetune --run and evaluate."""


def as_torch_file(bomb: bytes) -> bytes:
    """Return what torch.save makes, with this pickle in it."""
    file, evil = io.BytesIO(), io.BytesIO()
    torch.save({"optimizer": {}}, file)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(evil, "w") as new:
        for name in old.namelist():
            new.writestr(name, bomb if name.endswith("data.pkl") else old.read(name))
    return evil.getvalue()


def replaced(
    name: str, content_of: Callable[[Path, bytes], bytes]
) -> Callable[[Path, bytes], None]:
    """Replace a file and sign the manifest anew, as somebody would who knows how."""

    def act(folder: Path, bomb: bytes) -> None:
        (folder / name).write_bytes(content_of(folder, bomb))
        sign(folder)

    return act


def with_header(changed: Callable[[dict[str, dict]], object]) -> Callable[[Path, bytes], None]:
    """Change the header of the weights and sign the manifest anew."""

    def content_of(folder: Path, bomb: bytes) -> bytes:
        content = (folder / "model.safetensors").read_bytes()
        n_header = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + n_header])
        text = changed(header)
        text = text if isinstance(text, bytes) else json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + content[8 + n_header :]

    return replaced("model.safetensors", content_of)


def with_tensors(
    changed: Callable[[dict[str, torch.Tensor]], object],
) -> Callable[[Path, bytes], None]:
    """Change the weights and sign the manifest anew."""

    def act(folder: Path, bomb: bytes) -> None:
        tensors = load_file(folder / "model.safetensors")
        changed(tensors)
        save_file(tensors, folder / "model.safetensors")
        sign(folder)

    return act


def with_zeros(n_bytes: int) -> Callable[[Path, bytes], None]:
    """Put a file of zeros in the place of the weights and sign the manifest anew."""

    def act(folder: Path, bomb: bytes) -> None:
        os.truncate(folder / "model.safetensors", 0)
        os.truncate(folder / "model.safetensors", n_bytes)
        sign(folder)

    return act


def linked(name: str) -> Callable[[Path, bytes], None]:
    """Put a link in the place of a file or folder, to what it was."""

    def act(folder: Path, bomb: bytes) -> None:
        path = (folder / name).resolve()
        path.rename(folder.parents[1] / "elsewhere")
        path.symlink_to(folder.parents[1] / "elsewhere")

    return act


def pipe(name: str) -> Callable[[Path, bytes], None]:
    def act(folder: Path, bomb: bytes) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return act


def listen(folder: Path, bomb: bytes) -> None:
    (folder / "model.safetensors").unlink()
    # By its short name: the path of a socket may have 108 bytes.
    before = Path.cwd()
    os.chdir(folder)
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("model.safetensors")
    os.chdir(before)


def grow(folder: Path, bomb: bytes) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(1 << 42)


def renamed(name: str) -> Callable[[Path, bytes], None]:
    return lambda folder, bomb: folder.rename(folder.with_name(name)) and None


def moved_on(folder: Path, bomb: bytes) -> None:
    sign(folder.rename(folder.with_name("step_99999999")), step=99_999_999)


def manifest(content_of: Callable[[str], str | bytes]) -> Callable[[Path, bytes], None]:
    def act(folder: Path, bomb: bytes) -> None:
        content = content_of((folder / "manifest.json").read_text())
        content = content if isinstance(content, bytes) else content.encode()
        (folder / "manifest.json").write_bytes(content)

    return act


def shrink_to(**network: object) -> Callable[[Path, bytes], None]:
    def act(folder: Path, bomb: bytes) -> None:
        old = json.loads((folder / "manifest.json").read_bytes())["network"]
        sign(folder, network={**old, **network})

    return act


FIRST = "encoder.stem.conv.weight"
ATTACKS = {
    "pickle_beside": Attack(
        lambda folder, bomb: (folder / "state.pt").write_bytes(bomb) and None, resumed=0, used=0
    ),
    "pickle_of_an_earlier_version": Attack(
        lambda folder, bomb: as_earlier_version(folder, as_torch_file(bomb)), used=0
    ),
    "pickle_as_weights": Attack(
        replaced("model.safetensors", lambda folder, bomb: bomb), "a header of"
    ),
    "torch_file_as_weights": Attack(
        replaced("model.safetensors", lambda folder, bomb: as_torch_file(bomb)), "a header of"
    ),
    "pickle_as_state": Attack(replaced("state.safetensors", lambda folder, bomb: bomb), used=0),
    "pickle_as_manifest": Attack(
        lambda folder, bomb: (folder / "manifest.json").write_bytes(bomb) and None,
        "manifest.json : Invalid JSON",
    ),
    "link_to_weights": Attack(linked("model.safetensors"), "is a link", 9, 9),
    "link_to_state": Attack(linked("state.safetensors"), "is a link", 9, 9),
    "link_to_manifest": Attack(linked("manifest.json"), "is a link", 9, 9),
    "link_to_checkpoint": Attack(linked("."), "is a link", 9, 9),
    "link_to_checkpoints": Attack(linked(".."), "it is a link", 9, 9),
    "pipe_as_weights": Attack(pipe("model.safetensors"), "no regular file", 9, 9),
    "pipe_as_state": Attack(pipe("state.safetensors"), "no regular file", 9, 9),
    "pipe_as_manifest": Attack(pipe("manifest.json"), "no regular file", 9, 9),
    "socket_as_weights": Attack(listen, "must be a plain file", 9, 9),
    "terabytes_on_disk": Attack(grow, "at most 68719476736 bytes"),
    "more_than_the_network": Attack(with_zeros(64 << 20), "bytes of tensors and a header"),
    "terabytes_declared": Attack(
        with_header(lambda header: header[FIRST].update(shape=[1 << 20, 1 << 22])), "must lie at"
    ),
    "overflow": Attack(
        with_header(lambda header: header[FIRST].update(shape=[1 << 62, 4])), "must lie at"
    ),
    "negative_offset": Attack(
        with_header(lambda header: header[FIRST].update(data_offsets=[-4, 4])), "greater than or"
    ),
    "overlap": Attack(
        with_header(lambda header: header[FIRST].update(data_offsets=[0, 4])), "must lie at"
    ),
    "repeated_name": Attack(
        with_header(lambda header: b'{"a":1,"a":1}'), "its header has 'a' twice"
    ),
    "deep_header": Attack(with_header(lambda header: b"[" * 100_000), "too deep"),
    "unknown_type": Attack(
        with_header(lambda header: header[FIRST].update(dtype="OBJECT")), "dtype"
    ),
    "other_type": Attack(
        with_tensors(lambda tensors: tensors.update({FIRST: tensors[FIRST].double()})),
        "must be float32",
    ),
    "other_shape": Attack(
        with_tensors(lambda tensors: tensors.update({FIRST: tensors[FIRST][:1]})), "must be float32"
    ),
    "one_too_few": Attack(with_tensors(lambda tensors: tensors.pop(FIRST)), "got absent"),
    "deep_manifest": Attack(manifest(lambda text: "[" * 100_000), "recursion limit"),
    "deep_network": Attack(
        manifest(lambda text: text.replace('"kind": ', '"kind": ' + "[" * 9999))
    ),
    "huge_manifest": Attack(
        manifest(lambda text: text + " " * (17 << 20)), "at most 16777216 bytes"
    ),
    "nan_in_manifest": Attack(manifest(lambda text: text.replace('"mpp": 0.5', '"mpp": NaN'))),
    "repeated_key": Attack(manifest(lambda text: text.replace('"step"', '"step": 1,\n  "step"'))),
    "path_in_manifest": Attack(
        manifest(lambda text: text.replace("state.safetensors", "../../../etc/passwd"))
    ),
    "network_of_gigabytes": Attack(
        shrink_to(depth=200, width=4, selective_kernels=True), "fit", resumed=0
    ),
    "network_beyond_all": Attack(
        shrink_to(depth=18, width=1 << 40), "describes no network of ours: width", resumed=0
    ),
    "unknown_network": Attack(
        shrink_to(run="rm -rf"), "describes no network of ours: run: Extra", resumed=0
    ),
    "step_of_no_run": Attack(moved_on, used=0),
    "other_step": Attack(renamed("step_99999999"), "its manifest is that of step"),
    "negative_step": Attack(renamed("step_-0000007"), "its manifest is that of step"),
}


class Lab:
    """A pretrained and a finetuned run of one checkpoint each."""

    def __init__(self, starts: Starts, folder: Path) -> None:
        self.starts = starts
        self.folder = folder
        self.store = write_tiny_store(folder / "tiny.zarr", n_patients=4, tiles_per_patient=8)
        for command in ("pretrain", "finetune"):
            words = self.words(command, folder / "pretrain", out=folder / command)
            assert self.starts.run(*words).codes == [0]

    def words(self, command: str, run: Path, *, out: Path) -> list[object]:
        """Return a command line that reads `run`, pretrain but its own output."""
        if command == "evaluate":
            words = ["evaluate", run, "--store", self.store, "--out", out, "--no-baselines"]
            return [*words, "--device", "cpu", "--workers", 0]
        words = [command, *SETTINGS, "--out", out]
        if command == "finetune":
            return [*words, "--store", self.store, "--labels", 12, run]
        return [
            *words,
            "--view-px",
            16,
            "--policy",
            "simclr",
            "--set",
            "health_tiles=0",
            self.store,
        ]


@pytest.fixture(scope="module")
def lab(starts, tmp_path_factory):
    return Lab(starts, tmp_path_factory.mktemp("lab"))


@pytest.mark.parametrize("command", ["pretrain", "finetune", "evaluate"])
@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_checkpoint(lab, tmp_path, name, command):
    attack, canary = ATTACKS[name], tmp_path / "canary"
    source = lab.folder / ("finetune" if command == "evaluate" else "pretrain")
    run = shutil.copytree(source, tmp_path / "run")
    (folder,) = (run / "checkpoints").iterdir()
    attack.act(folder, pickle.dumps(Bomb(canary)))
    out = run if command == "pretrain" else tmp_path / "out"
    ended = lab.starts.run(*lab.words(command, run, out=out))
    expected = attack.resumed if command == "pretrain" else attack.used
    said = " ".join(ended.outputs[0].split())
    assert ended.codes == [expected], said
    assert "Traceback" not in said
    assert not canary.exists()
    is_about_networks = "network" in name
    if attack.sentence and not (command == "pretrain" and is_about_networks):
        assert attack.sentence in said


def test_the_bomb_would_go_off(tmp_path):
    bomb = pickle.dumps(Bomb(tmp_path / "canary"))
    pickle.loads(bomb)
    assert (tmp_path / "canary").exists()
    (tmp_path / "canary").unlink()
    torch.load(io.BytesIO(as_torch_file(bomb)), weights_only=False)
    assert (tmp_path / "canary").exists()
