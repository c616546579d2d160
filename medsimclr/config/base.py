"""What all command configurations share: markers for the command line, TOML files, `--set`.

A field marked `Argument` or `Flag` is a command-line argument or option; every other field is
reached by `--set key=value` or a TOML file. Precedence: flag, then --set, then TOML, then default.
"""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from medsimclr.errors import ConfigError

__all__ = [
    "Argument",
    "CommandConfig",
    "Flag",
    "difference",
    "dump_toml",
    "load_toml",
    "resolve",
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
        return type(self).model_validate({**self.model_dump(), **changes})


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
        ConfigError: a key is unknown (the known ones are listed) or a value does not fit.
    """
    merged: dict[str, Any] = {}
    sources: list[tuple[str, Mapping[str, object]]] = [("the command line", flags)]
    sources.insert(0, ("--set", _parse_assignments(assignments)))
    if toml is not None:
        sources.insert(0, (str(toml), load_toml(toml)))
    for where, values in sources:
        _check_keys(model, values, where=where)
        for key, value in values.items():
            nested = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
            merged[key] = {**merged[key], **value} if nested else value  # type: ignore[dict-item]
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_sentence_of(error)) from error


def load_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of configuration keys.

    Raises:
        ConfigError: the file is missing or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"--config {str(path)!r} must be a readable TOML file: {error}; see "
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
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set expects key=value, got {text!r}.")
        outer, _, inner = key.strip().partition(".")
        parsed = _parse_value(value.strip())
        if inner:
            known = values.get(outer)
            values[outer] = {**(known if isinstance(known, dict) else {}), inner: parsed}
        else:
            values[outer] = parsed
    return values


def _parse_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _sentence_of(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    keys = [".".join(str(part) for part in problem["loc"]) for problem in problems]
    missing = [key for key, p in zip(keys, problems, strict=True) if p["type"] == "missing"]
    if missing:
        return f"{' and '.join(missing)} must be given, on the command line or in --config."
    sentences = [
        # What a model says of several fields at once names them itself.
        f"{key}: {problem['msg']}, got {problem['input']!r}"
        if key
        else problem["msg"].removeprefix("Value error, ")
        for key, problem in zip(keys, problems, strict=True)
    ]
    return f"{'; '.join(sentences)}."
