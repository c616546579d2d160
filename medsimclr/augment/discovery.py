"""The one door by which a policy comes in, ours and a stranger's alike.

A policy is named by entry point (`stain_jitter`), by module (`package.module:ClassName`), by file
(`path/to/file.py:ClassName`), or is a saved albumentations pipeline (`file.yaml`, `file.json`).
Loading one runs its code, but for a pipeline's: load only what you would run as a script. What is
loaded keeps to the contract, as far as a few views show.
"""

import dataclasses
import hashlib
import importlib
import importlib.util
import shlex
import sys
import typing
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import cast

import pydantic

from medsimclr.augment.contract import METHODS, check_policy, first_line
from medsimclr.augment.policy import ENTRY_POINT_GROUP, AugmentationPolicy
from medsimclr.errors import PolicyError

__all__ = ["installed_policies", "load_policy"]

_OWN_POLICY = (
    "A policy of your own is given as path/to/file.py:ClassName or package.module:ClassName, a "
    "saved albumentations pipeline as path/to/file.yaml."
)
_PIPELINE_SUFFIXES = (".json", ".yaml", ".yml")


def installed_policies() -> dict[str, EntryPoint]:
    """Return the policies that installed packages announce, by name, in alphabetical order."""
    found = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
    return {point.name: point for point in found}


def load_policy(
    spec: str,
    *,
    options: Mapping[str, object] | None = None,
    is_checked: bool = True,
    only_class: str | None = None,
) -> AugmentationPolicy:
    """Load a policy, set its fields and look at what it draws.

    Args:
        spec: entry point name, "module:attribute", "file.py:attribute", or a saved pipeline. The
            attribute is a policy class or an instance of one.
        options: dataclass fields to override; values are converted to the type of the field.
        is_checked: whether to look at what it draws; without it, only what must be there is.
        only_class: the `class_name` that it must have; a file of other text is not even run.

    Raises:
        PolicyError: the policy cannot be found, imported or used, breaks the contract, or an option
            is wrong.
    """
    if spec.endswith(_PIPELINE_SUFFIXES):
        return _good(_load_pipeline(spec, options or {}), spec, is_checked=is_checked)
    if spec.endswith(".py"):
        raise PolicyError(
            f"augmentation policy {spec!r} must name a class of that file; give {spec}:ClassName."
        )
    module = only_class.partition(":")[0] if only_class is not None else None
    attribute = _load_located(spec, only_module=module) if ":" in spec else _load_named(spec)
    policy_class = attribute if isinstance(attribute, type) else type(attribute)
    found = f"{policy_class.__module__}:{policy_class.__qualname__}"
    if only_class not in (None, found):
        raise PolicyError(f"it must be {only_class!r}, got {found!r}, of other code.")
    _check_is_policy(policy_class, spec)
    checked = _checked_options(policy_class, spec, options or {})
    try:
        if isinstance(attribute, type):
            policy = cast(AugmentationPolicy, attribute(**checked))
        else:
            policy = dataclasses.replace(cast(typing.Any, attribute), **checked)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"augmentation policy {spec!r} refuses its options: {error}") from error
    return _good(policy, spec, is_checked=is_checked)


def _good(policy: AugmentationPolicy, spec: str, *, is_checked: bool) -> AugmentationPolicy:
    if is_checked and (problems := check_policy(policy, is_thorough=False)):
        check = f"medsimclr policies check {shlex.quote(spec)}"
        more = f" ({len(problems) - 1} more: {check})" if problems[1:] else ""
        raise PolicyError(f"augmentation policy {spec!r}: {problems[0]}{more}")
    return policy


def _load_pipeline(spec: str, options: Mapping[str, object]) -> AugmentationPolicy:
    from medsimclr.augment.pipeline import read_pipeline

    if options:
        raise PolicyError(
            f"augmentation pipeline {spec!r} has no options, got {', '.join(options)}; change the "
            "file, or write a policy class."
        )
    return read_pipeline(Path(spec))


def _load_named(name: str) -> object:
    """Load the attribute behind an entry point name."""
    points = list(entry_points(group=ENTRY_POINT_GROUP, name=name))
    # One distribution can be seen twice (an editable install beside a wheel); two cannot agree.
    values = sorted({point.value for point in points})
    if not values:
        known = ", ".join(installed_policies()) or "none"
        raise PolicyError(
            f"unknown augmentation policy {name!r}; installed policies: {known}. {_OWN_POLICY}"
        )
    if len(values) > 1:
        raise PolicyError(
            f"augmentation policy {name!r} is announced by {len(values)} packages: "
            f"{', '.join(values)}. Give the one you mean in this form."
        )
    return _load_located(values[0])


def _load_located(spec: str, *, only_module: str | None = None) -> object:
    """Load "module:attribute" or "file.py:attribute"; of files, only what has the module's name."""
    place, _, attribute = spec.rpartition(":")
    if not place or not attribute.isidentifier():
        raise PolicyError(
            f"an augmentation policy is given as place:ClassName, got {spec!r}. {_OWN_POLICY}"
        )
    is_file = place.endswith(".py")
    module = _module_from_file(Path(place), only_module) if is_file else _module_by_name(place)
    if not hasattr(module, attribute):
        known = sorted(
            name for name, value in vars(module).items() if not _missing(value) and name[0] != "_"
        )
        raise PolicyError(
            f"{place} has no {attribute!r}; augmentation policies in it: "
            f"{', '.join(known) or 'none'}."
        )
    return cast(object, getattr(module, attribute))


def _module_by_name(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        # A plug-in may raise anything while it is imported; the person can only mend the plug-in.
        raise PolicyError(
            f"augmentation policy module {name!r} cannot be imported: {first_line(error)} "
            "Install what it needs, or give the policy as path/to/file.py:ClassName."
        ) from error


def _module_from_file(path: Path, only_name: str | None) -> ModuleType:
    """Run a policy file as a module that is named by its content.

    The digest in the name lets a checkpoint say which text of the file drew its views. What is run
    is that very text, never bytecode that Python kept beside the file.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PolicyError(
            f"augmentation policy file {str(path)!r} cannot be read: {error.strerror}; check its "
            "path."
        ) from error
    name = f"policy_file_{path.stem}_{hashlib.sha256(source).hexdigest()[:16]}"
    if only_name not in (None, name):
        raise PolicyError(
            f"augmentation policy file {str(path)!r} must have the text of {only_name!r}, got "
            f"{name!r}, of other code; it was not run."
        )
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, path
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their own module up by name while the file runs.
    sys.modules[name] = module
    try:
        exec(compile(source, str(path), "exec"), vars(module))
    except Exception as error:
        del sys.modules[name]
        raise PolicyError(
            f"augmentation policy file {str(path)!r} cannot be imported: {first_line(error)}"
        ) from error
    return module


def _missing(candidate: object) -> str:
    """Say what a candidate lacks to be a policy class; empty if nothing."""
    if not isinstance(candidate, type) or not dataclasses.is_dataclass(candidate):
        return "is not a dataclass"
    if not candidate.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return "is not frozen, so that its fields may change after they are recorded"
    lacking = [name for name in METHODS if not callable(getattr(candidate, name, None))]
    return f"lacks the method {' and '.join(lacking)}" if lacking else ""


def _check_is_policy(policy_class: type, spec: str) -> None:
    if problem := _missing(policy_class):
        raise PolicyError(
            f"augmentation policy {spec!r}: {policy_class.__name__} {problem}. A policy is a class "
            "under @dataclass(frozen=True, kw_only=True) with the methods contrastive(view_px) "
            "and supervised(view_px)."
        )


def _checked_options(
    policy_class: type, spec: str, options: Mapping[str, object]
) -> dict[str, object]:
    """Return the options converted to the types of their fields."""
    known = [field.name for field in dataclasses.fields(policy_class) if field.init]
    hints = typing.get_type_hints(policy_class)
    checked: dict[str, object] = {}
    for name, value in options.items():
        if name not in known:
            raise PolicyError(
                f"unknown option {name!r} of augmentation policy {spec!r}; "
                f"known options: {', '.join(known) or 'none'}."
            )
        try:
            checked[name] = pydantic.TypeAdapter(hints[name]).validate_python(value)
        except pydantic.ValidationError as error:
            raise PolicyError(
                f"option {name!r} of augmentation policy {spec!r}: "
                f"{error.errors()[0]['msg']}, got {value!r}."
            ) from error
    return checked
