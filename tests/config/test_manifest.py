from pathlib import Path

import pytest

from medsimclr.errors import ConfigError
from medsimclr.manifest import read_manifest, read_manifests
from medsimclr.tiling.cifar10 import CIFAR10_CLASSES

_DATASETS = Path(__file__).parents[2] / "datasets"
_GOOD = """
title = "t"
source = "s"
licence = "CC0"
classes = ["a", "b"]
tile_px = 224
splits = "by patient"
tile_command = "medsimclr tile x"
"""


def _manifest(tmp_path, more=""):
    path = tmp_path / "manifest.toml"
    path.write_text(_GOOD + more)
    return path


def test_every_data_set_has_a_manifest_that_reads_and_a_card():
    folders = sorted(path.name for path in _DATASETS.iterdir() if path.is_dir())
    assert sorted(read_manifests()) == folders
    assert folders
    for name in folders:
        assert (_DATASETS / name / "README.md").is_file()


def test_the_classes_of_cifar10_are_those_of_its_reader_in_order():
    assert tuple(read_manifests()["cifar10"].classes) == CIFAR10_CLASSES


def test_every_manifest_gives_the_command_that_tiles_it():
    for manifest in read_manifests().values():
        assert manifest.tile_command.startswith("medsimclr tile ")
        assert len(set(manifest.classes)) == len(manifest.classes)


@pytest.mark.parametrize("digest", ["abc", "g" * 64, "A" * 64, "a" * 65])
def test_a_wrong_sha256_is_named_with_file_and_key(tmp_path, digest):
    good = f'[[files]]\npath = "x"\nsha256 = "{"a" * 64}"\n'
    path = _manifest(tmp_path, good + f'[[files]]\npath = "y"\nsha256 = "{digest}"\n')
    with pytest.raises(
        ConfigError, match=rf"manifest\.toml', files\.1\.sha256: .*, got '{digest}'\."
    ):
        read_manifest(path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("homepage = 'x'", r"homepage: Extra inputs are not permitted"),
        ("mpp = 0", r"mpp: .*greater than 0, got 0"),
        ("[[files]]\npath = 'x'", r"files\.0\.sha256: Field required"),
        ("title = 'twice'", r"must be a readable TOML file: Cannot overwrite a value"),
    ],
)
def test_a_wrong_manifest_is_named_with_file_and_key(tmp_path, more, message):
    with pytest.raises(ConfigError, match=rf"manifest\.toml'.*{message}"):
        read_manifest(_manifest(tmp_path, more))


def test_a_manifest_that_cannot_be_read_is_a_config_error(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b'title = "\xe4"')
    for name in ("none.toml", "latin.toml"):
        with pytest.raises(ConfigError, match=rf"{name}' must be a readable TOML file"):
            read_manifest(tmp_path / name)
