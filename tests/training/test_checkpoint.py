"""Checkpoints: what is written comes back, what is not whole is noticed, what is old is dropped."""

import random
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from medsimclr.errors import IntegrityError, NoInputError, OutputError
from medsimclr.files.checksum import sha256_of_file
from medsimclr.optim.lars import LARS, lars_groups
from medsimclr.training import checkpoint as module_under_test
from medsimclr.training.checkpoint import (
    checkpoint_at,
    discard_after,
    latest_checkpoint,
    require_checkpoint,
    restore,
    save_checkpoint,
)
from tests.training.signed import as_earlier_version, sign

NETWORK = {"kind": "simclr", "mpp": 0.5, "classes": ["normal", "tumör"]}


def small_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.LazyLinear(2))


def small_training(kind: str = "lars", seed: int = 0, n_steps: int = 0):
    """Return a network and its optimiser after some steps."""
    network = small_network(seed)
    network(torch.zeros(2, 1, 5, 5))
    if kind == "lars":
        optimizer: torch.optim.Optimizer = LARS(lars_groups(network, weight_decay=1e-4), lr=0.1)
    else:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for _ in range(n_steps):
        step(network, optimizer)
    return network, optimizer


def step(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    images_BCHW = torch.linspace(0, 1, 100).reshape(4, 1, 5, 5) ** 2
    network(images_BCHW).square().sum().backward()
    optimizer.step()


def save(run: Path, at: int, network: nn.Module, optimizer: torch.optim.Optimizer) -> Path:
    save_checkpoint(
        run / "checkpoints", step=at, module=network, optimizer=optimizer, network=NETWORK
    )
    return run / "checkpoints" / f"step_{at:08d}"


@pytest.fixture
def run(tmp_path):
    """A run of two checkpoints, at steps 1 and 2."""
    network, optimizer = small_training()
    for at in (1, 2):
        step(network, optimizer)
        save(tmp_path, at, network, optimizer)
    return tmp_path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def newest(run: Path) -> int | None:
    checkpoint, _ = latest_checkpoint(run)
    return checkpoint and checkpoint.step


@pytest.mark.parametrize("kind", ["lars", "sgd"])
def test_training_goes_on_from_a_checkpoint_with_the_same_bits(tmp_path, kind):
    network, optimizer = small_training(kind, n_steps=3)
    save(tmp_path, 3, network, optimizer)
    resumed, resumed_optimizer = small_training(kind, seed=1)
    restore(require_checkpoint(tmp_path), resumed, resumed_optimizer)
    for training in ((network, optimizer), (resumed, resumed_optimizer)):
        step(*training)
    for (name, ours), theirs in zip(
        network.state_dict().items(), resumed.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    assert any(state["momentum_buffer"].any() for state in resumed_optimizer.state.values())


def test_momentum_takes_the_layout_of_its_weight(tmp_path):
    network, optimizer = small_training(n_steps=1)
    save(tmp_path, 1, network, optimizer)
    network.to(memory_format=torch.channels_last)
    restore(require_checkpoint(tmp_path), network, optimizer)
    weight = network[0].weight
    assert optimizer.state[weight]["momentum_buffer"].stride() == weight.stride()


def test_files_are_those_that_safetensors_reads(run):
    checkpoint = require_checkpoint(run)
    theirs = load_file(checkpoint.folder / "model.safetensors")
    ours = checkpoint.weights(theirs)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert set(load_file(checkpoint.folder / "state.safetensors")) == {
        name for name, _ in small_training()[0].named_parameters()
    }
    assert checkpoint.network == NETWORK


def test_only_the_last_two_are_kept(run):
    network, optimizer = small_training(n_steps=1)
    for at in (3, 4):
        save(run, at, network, optimizer)
    assert names_in(run / "checkpoints") == ["step_00000003", "step_00000004"]


def test_a_damaged_one_is_not_counted_among_the_two(run):
    (run / "checkpoints" / "step_00000002" / "state.safetensors").write_bytes(b"")
    save(run, 3, *small_training(n_steps=1))
    assert names_in(run / "checkpoints") == ["step_00000001", "step_00000003"]


def test_a_whole_one_of_the_same_step_is_left_alone(run):
    before = sha256_of_file(run / "checkpoints" / "step_00000002" / "model.safetensors")
    save(run, 2, *small_training(seed=5, n_steps=1))
    assert sha256_of_file(run / "checkpoints/step_00000002/model.safetensors") == before


def test_a_damaged_one_of_the_same_step_is_written_again(run):
    (run / "checkpoints" / "step_00000002" / "manifest.json").write_text("{}")
    assert newest(run) == 1
    save(run, 2, *small_training(n_steps=1))
    assert newest(run) == 2


def test_later_ones_are_discarded(run):
    discard_after(run, 1)
    assert names_in(run / "checkpoints") == ["step_00000001"]


def test_partial_folders_are_no_checkpoints(run):
    folder = run / "checkpoints" / "step_00000002"
    folder.rename(folder.with_name("step_00000003.partial"))
    assert latest_checkpoint(run)[0].step == 1
    assert latest_checkpoint(run)[1] == []


def test_a_step_of_nine_digits_is_newer_than_one_of_eight(run):
    for at in (99_999_999, 100_000_000):
        save(run, at, *small_training(n_steps=1))
    assert newest(run) == 100_000_000
    assert len(names_in(run / "checkpoints")) == 2


def test_the_checkpoint_of_a_step_is_verified(run):
    assert checkpoint_at(run, 1).step == 1
    (run / "checkpoints" / "step_00000001" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(IntegrityError, match=r"model\.safetensors fails its SHA-256"):
        checkpoint_at(run, 1)
    with pytest.raises(IntegrityError, match="No such file"):
        checkpoint_at(run, 3)


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors"])
def test_what_was_verified_is_what_is_loaded(run, name):
    checkpoint = require_checkpoint(run)
    tensors = load_file(checkpoint.folder / name)
    save_file({key: tensor + 1 for key, tensor in tensors.items()}, checkpoint.folder / name)
    network, optimizer = small_training()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(IntegrityError, match=f"{name}: it fails its SHA-256"):
        restore(checkpoint, network, optimizer)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def all_damage(content: bytes, draw: random.Random) -> bytes:
    """Cut bytes off, flip one bit, or change one byte."""
    kind, at = draw.randrange(3), draw.randrange(len(content))
    if kind == 0:
        return content[:at]
    changed = bytearray(content)
    changed[at] ^= 1 << draw.randrange(8) if kind == 1 else draw.randrange(1, 256)
    return bytes(changed)


def test_400_of_400_damages_are_noticed_and_the_one_before_is_used(run):
    draw = random.Random(0)
    folder = run / "checkpoints" / "step_00000002"
    files = sorted(folder.iterdir())
    assert len(files) == 3
    whole = {path: path.read_bytes() for path in files}
    for i in range(400):
        path = files[i % 3]
        path.write_bytes(all_damage(whole[path], draw))
        checkpoint, sentences = latest_checkpoint(run)
        assert checkpoint is not None
        assert checkpoint.step == 1, i
        assert len(sentences) == 1
        assert sentences[0].startswith(f"checkpoint {str(folder)!r}")
        path.write_bytes(whole[path])
    assert newest(run) == 2


def test_every_byte_of_the_manifest_is_guarded(run):
    path = run / "checkpoints" / "step_00000002" / "manifest.json"
    whole = path.read_bytes()
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        assert newest(run) == 1, at


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "manifest.json"])
def test_a_missing_file_is_noticed(run, name):
    (run / "checkpoints" / "step_00000002" / name).unlink()
    checkpoint, sentences = latest_checkpoint(run)
    assert checkpoint.step == 1
    assert "No such file" in sentences[0]


def test_a_checkpoint_under_another_step_is_noticed(run):
    (run / "checkpoints" / "step_00000002").rename(run / "checkpoints" / "step_00000007")
    checkpoint, sentences = latest_checkpoint(run)
    assert checkpoint.step == 1
    assert "its manifest is that of step 2" in sentences[0]


def test_a_checkpoint_that_cannot_be_read_is_not_taken_for_damaged(run, monkeypatch):
    """It may be whole: to pass it over would throw it away."""

    def refused(*arguments, **named):
        raise PermissionError(13, "Permission denied", "manifest.json")

    monkeypatch.setattr("medsimclr.training.checkpoint_files.read_below", refused)
    with pytest.raises(NoInputError, match=r"'manifest.json' must be readable, got 'Permission"):
        latest_checkpoint(run)


def test_one_of_an_earlier_version_gives_its_weights_and_is_not_resumed(run):
    folder = run / "checkpoints" / "step_00000002"
    as_earlier_version(folder, b"cos\nsystem\n.")
    checkpoint = require_checkpoint(run)
    assert checkpoint.step == 2
    expected = load_file(folder / "model.safetensors")
    assert checkpoint.weights(expected).keys() == expected.keys()
    with pytest.raises(IntegrityError, match=r"must hold state\.safetensors to be resumed, got"):
        restore(checkpoint, *small_training())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda tensors: tensors.pop("0.weight"), "'0.weight' must be .*, got absent"),
        (lambda tensors: tensors.update(more=torch.ones(2)), "'more' must be absent, got float32"),
        (
            lambda tensors: tensors.update({"0.bias": torch.ones(3)}),
            r"'0.bias' must be float32 \[2\], got float32 \[3\]",
        ),
        (
            lambda tensors: tensors.update({"0.bias": torch.ones(2, dtype=torch.float64)}),
            r"'0.bias' must be float32 \[2\], got float64 \[2\]",
        ),
    ],
)
@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors"])
def test_what_does_not_fit_the_network_is_refused(run, name, change, sentence):
    folder = run / "checkpoints" / "step_00000002"
    tensors = load_file(folder / name)
    change(tensors)
    save_file(tensors, folder / name)
    sign(folder)
    with pytest.raises(IntegrityError, match=f"{name} does not fit the network: {sentence}"):
        restore(require_checkpoint(run), *small_training())


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors"])
def test_of_a_file_with_more_bytes_than_the_network_nothing_is_read(run, monkeypatch, name):
    folder = run / "checkpoints" / "step_00000002"
    save_file({"0.weight": torch.zeros(5 << 20)}, folder / name)
    sign(folder)
    checkpoint, expected = require_checkpoint(run), small_training()[0].state_dict()
    read = checkpoint.weights if name == "model.safetensors" else checkpoint.momentum
    allocated = []
    monkeypatch.setattr(torch, "empty", lambda n_bytes, dtype: allocated.append(n_bytes))
    sentence = rf"is damaged: {name}: expected \d+ bytes of tensors and .*, got 2097\d{{4}} b"
    with pytest.raises(IntegrityError, match=sentence):
        read(expected)
    assert not allocated


@pytest.mark.parametrize("failing", ["save_file", "sync_tree", "write_json", "sync_folder"])
def test_a_full_disk_is_an_output_error_and_leaves_the_one_before(run, monkeypatch, failing):
    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module_under_test, failing, full)
    with pytest.raises(OutputError, match="must be writable and have room, got 'No space left"):
        save(run, 3, *small_training(n_steps=1))
    monkeypatch.undo()
    # Renamed but perhaps not on the disk: it is whole, if it is there.
    assert newest(run) == (3 if failing == "sync_folder" else 2)
    save(run, 3, *small_training(n_steps=1))
    assert newest(run) == 3


def test_what_the_file_system_tells_safetensors_is_an_output_error(run, monkeypatch):
    def full(*arguments, **named):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(module_under_test, "save_file", full)
    with pytest.raises(OutputError, match="No space left on device"):
        save(run, 3, *small_training(n_steps=1))


@pytest.mark.parametrize("act", [discard_after, lambda run, step: save(run, 3, *small_training())])
def test_old_ones_that_cannot_be_deleted_are_an_output_error(run, act):
    """A link in the place of a checkpoint; what it leads to stays."""
    (run / "checkpoints" / "step_00000001").rename(run / "elsewhere")
    (run / "checkpoints" / "step_00000001").symlink_to(run / "elsewhere")
    with pytest.raises(OutputError, match="step_00000001"):
        act(run, 0)
    assert len(names_in(run / "elsewhere")) == 3
