import os
import py_compile
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import augment_policies
from medsimclr.augment.discovery import installed_policies, load_policy
from medsimclr.errors import PolicyError

_POLICY = """
    from __future__ import annotations

    from dataclasses import dataclass

    import albumentations as A

    @dataclass(frozen=True, kw_only=True)
    class Mine:
        p: float = 0.5
        name: str = "mine"

        def __post_init__(self):
            if self.p > 1:
                raise ValueError(f"p must be at most 1, got {self.p!r}")

        def contrastive(self, view_px):
            return A.Compose([A.Resize(view_px, view_px), A.HorizontalFlip(p=self.p)])

        def supervised(self, view_px):
            return A.Compose([A.Resize(view_px, view_px)])

    WEAK = Mine(p=0.1)

    @dataclass
    class Thawed(Mine if False else object):
        pass

    @dataclass(frozen=True)
    class Half:
        def contrastive(self, view_px): ...

    class Plain:
        pass
"""


@pytest.fixture
def policy_file(tmp_path):
    path = tmp_path / "my_policy.py"
    path.write_text(textwrap.dedent(_POLICY))
    return path


def test_our_policies_come_in_by_entry_point():
    files = Path(augment_policies.__file__).parent.glob("[!_]*.py")

    assert {path.stem for path in files} <= set(installed_policies())
    assert list(installed_policies()) == sorted(installed_policies())


def test_a_policy_is_found_by_name_module_and_file(policy_file):
    assert load_policy("simclr") == load_policy("augment_policies.simclr:SimCLRPolicy")
    assert load_policy(f"{policy_file}:Mine").p == 0.5


def test_an_instance_is_a_policy_too_and_takes_options(policy_file):
    assert load_policy(f"{policy_file}:WEAK").p == 0.1
    changed = load_policy(f"{policy_file}:WEAK", options={"name": "other"})
    assert (changed.p, changed.name) == (0.1, "other")


def test_the_same_file_gives_the_same_class_and_a_changed_file_another(policy_file):
    first = type(load_policy(f"{policy_file}:Mine"))
    again = type(load_policy(f"{policy_file}:Mine"))
    policy_file.write_text(policy_file.read_text() + "\n# changed\n")
    changed = type(load_policy(f"{policy_file}:Mine"))

    assert first is again
    assert first.__module__ != changed.__module__


def test_a_file_changed_within_a_second_is_run_as_it_is_now(policy_file):
    """Python takes bytecode beside a file for its own where time and size are the same."""
    py_compile.compile(str(policy_file))
    before = policy_file.stat()
    policy_file.write_text(policy_file.read_text().replace("p: float = 0.5", "p: float = 0.7"))
    os.utime(policy_file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert load_policy(f"{policy_file}:Mine").p == 0.7


def test_options_are_converted_to_the_type_of_their_field():
    policy = load_policy("simclr", options={"strength": "0.5", "blur": "false"})

    assert (policy.strength, policy.blur) == (0.5, False)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "stain_jiter",
            "unknown augmentation policy 'stain_jiter'; installed policies: "
            f"{', '.join(installed_policies())}. A policy of your own is given as "
            "path/to/file.py:ClassName or package.module:ClassName, a saved albumentations "
            "pipeline as path/to/file.yaml.",
        ),
        ("no.such.module:X", "'no.such.module' cannot be imported: ModuleNotFoundError: No module"),
        (
            "missing.py:X",
            "policy file 'missing.py' cannot be read: No such file or directory; check its path.",
        ),
        ("mine.py", "'mine.py' must name a class of that file; give mine.py:ClassName."),
        (":X", "is given as place:ClassName, got ':X'"),
        ("module:", "is given as place:ClassName, got 'module:'"),
        (
            "augment_policies.simclr:SimCLR",
            "augment_policies.simclr has no 'SimCLR'; augmentation policies in it: SimCLRPolicy.",
        ),
        ("pathlib:Path", "'pathlib:Path': Path is not a dataclass. A policy is a class under"),
    ],
)
def test_what_cannot_be_found_is_told_with_what_can(spec, message):
    with pytest.raises(PolicyError, match=re.escape(message)):
        load_policy(spec)


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("Plain", "Plain is not a dataclass"),
        ("Thawed", "Thawed is not frozen"),
        ("Half", "Half lacks the method supervised. A policy is a class"),
        ("Absent", "has no 'Absent'; augmentation policies in it: Mine."),
    ],
)
def test_what_is_no_policy_is_told_what_it_lacks(policy_file, attribute, message):
    with pytest.raises(PolicyError, match=re.escape(message)):
        load_policy(f"{policy_file}:{attribute}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"q": 1}, "unknown option 'q' of augmentation policy"),
        ({"q": 1}, "known options: p, name."),
        ({"p": "a"}, "option 'p' of augmentation policy"),
        ({"p": "a"}, "valid number, unable to parse string as a number, got 'a'."),
        ({"p": 2}, "refuses its options: p must be at most 1, got 2.0"),
    ],
)
def test_a_wrong_option_is_told_with_the_known_ones(policy_file, options, message):
    with pytest.raises(PolicyError, match=re.escape(message)):
        load_policy(f"{policy_file}:Mine", options=options)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'."),
        ("def f(:", "SyntaxError: "),
        ("raise RuntimeError('a\\nb')", "RuntimeError: a."),
    ],
)
def test_a_file_that_fails_is_told_with_its_cause_and_leaves_no_module(tmp_path, source, cause):
    path = tmp_path / "broken.py"
    path.write_text(source)

    with pytest.raises(PolicyError, match=re.escape(cause)):
        load_policy(f"{path}:X")

    assert not [name for name in sys.modules if name.startswith("policy_file_broken_")]


def test_importing_discovery_loads_neither_albumentations_nor_opencv_nor_torch():
    code = (
        "import os, sys; import medsimclr.augment.discovery;"
        "print(*({'albumentations', 'cv2', 'torch'} & set(sys.modules)));"
        "print(os.environ['NO_ALBUMENTATIONS_UPDATE'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert result.stdout == "\n1\n", result.stderr
