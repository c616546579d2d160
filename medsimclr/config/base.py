"""What all command configurations share: markers for the command line, TOML files, `--set`.

A field marked `Argument` or `Flag` is a command-line argument or option; every other field is
reached by `--set key=value` or a TOML file. Precedence: flag or --set, which must not
contradict each other, then TOML, then default.
"""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from medsimclr.config.sentences import sentence_of
from medsimclr.errors import ConfigError

__all__ = [
    "Argument",
    "CommandConfig",
    "Flag",
    "difference",
    "dump_toml",
    "load_toml",
    "option_name",
    "parse_value",
    "resolve",
    "same_value",
]


@dataclass(frozen=True)
class Argument:
    """Marks a field as a positional argument of its command."""

    metavar: str


@dataclass(frozen=True)
class Flag:
    """Marks a field as an option that users change."""

    short: str | None = None


class CommandConfig(BaseModel):
    """Base of the configurations: frozen, unknown keys are errors, docstrings are the help."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    def record(self) -> dict[str, Any]:
        """Return the resolved configuration as TOML- and JSON-ready values, None left out."""
        return self.model_dump(mode="json", exclude_none=True)

    def with_absolute_paths(self) -> Self:
        """Return a copy whose paths hold from any folder, for a record that is read again."""
        paths = {k: v.absolute() for k, v in self if isinstance(v, Path)}
        return self.model_copy(update=paths)

    def with_changes(self, **changes: object) -> Self:
        """Return a validated copy with some fields replaced."""
        # Unset fields stay unset: some must not be set beside others.
        return type(self).model_validate({**self.model_dump(exclude_unset=True), **changes})


Config = TypeVar("Config", bound=CommandConfig)


def resolve(
    model: type[Config],
    *,
    flags: Mapping[str, object],
    assignments: Sequence[str] = (),
    toml: Path | None = None,
) -> Config:
    """Merge the sources into one validated configuration.

    Args:
        model: the command's configuration class.
        flags: values given on the command line, by field name.
        assignments: `key=value` texts; the value is read as TOML, else as a string.
        toml: a TOML file of fields.

    Raises:
        ConfigError: a key is unknown (the known ones are listed), has two values on the command
            line, or a value does not fit.
    """
    merged: dict[str, Any] = {}
    sources: list[tuple[str, Mapping[str, object]]] = [("the command line", flags)]
    assigned = _parse_assignments(assignments)
    sources.insert(0, ("--set", assigned))
    if toml is not None:
        sources.insert(0, (str(toml), load_toml(toml)))
    for where, values in sources:
        _check_keys(model, values, where=where)
        for key, value in values.items():
            nested = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
            merged[key] = {**merged[key], **value} if nested else value  # type: ignore[dict-item]
    for key in sorted(assigned.keys() & flags.keys()):
        same_value(f"{option_name(model, key)} and --set {key}", [flags[key], assigned[key]])

    def name_of(key: str) -> str:
        if key in assigned:
            return f"--set {key}"
        in_toml = toml is not None and key in merged and key not in flags
        return f"{key} in {str(toml)!r}" if in_toml else option_name(model, key)

    try:
        return model.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(sentence_of(error, name_of=name_of)) from error


def option_name(model: type[CommandConfig], key: str) -> str:
    """Return how a field is given on the command line: --batch-size, STORE, or --set width."""
    for marker in model.model_fields[key].metadata:
        if isinstance(marker, Flag):
            return f"--{key.replace('_', '-')}"
        if isinstance(marker, Argument):
            return marker.metavar.strip("[].")
    return f"--set {key}"


def same_value(name: str, values: Sequence[object]) -> object:
    """Return what one command line gives once, or several times alike.

    Raises:
        ConfigError: two values differ; `name` says of what.
    """
    first = values[0]
    for other in values[1:]:
        # As text too: a path that was typed equals the same path of --set.
        if other != first and str(other) != str(first):
            raise ConfigError(
                f"{name} must have one value on a command line, got {first!r} and {other!r}; "
                "leave one out."
            )
    return first


def load_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of configuration keys.

    Raises:
        ConfigError: the file is missing or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        fact = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"--config {str(path)!r} must be a readable TOML file: {fact}; check its path, and see "
            "the config.toml of any earlier output for an example."
        ) from error


def dump_toml(values: Mapping[str, Any]) -> str:
    """Write a configuration record as TOML text."""
    return tomli_w.dumps(values)


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List the keys in which two records differ, as `key: old -> new`."""
    keys = sorted(old.keys() | new.keys())
    return [
        f"{key}: {old.get(key, 'not set')!r} -> {new.get(key, 'not set')!r}"
        for key in keys
        if old.get(key) != new.get(key)
    ]


def _check_keys(model: type[CommandConfig], values: Mapping[str, object], *, where: str) -> None:
    for key in values:
        if key not in model.model_fields:
            known = sorted(model.model_fields)
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"unknown configuration key {key!r} in {where}; {hint}known keys: "
                f"{', '.join(known)}."
            )


def _parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    given: dict[str, object] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        key = name.strip()
        if not equals or not key:
            raise ConfigError(f"--set expects key=value, got {text!r}.")
        parsed = parse_value(value.strip())
        same_value(f"--set {key}", [given.setdefault(key, parsed), parsed])
        outer, _, inner = key.partition(".")
        if inner:
            known = values.get(outer)
            values[outer] = {**(known if isinstance(known, dict) else {}), inner: parsed}
        else:
            values[outer] = parsed
    return values


def parse_value(text: str) -> object:
    """Read a value as TOML writes it, else as the text that it is."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
