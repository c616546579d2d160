"""A saved albumentations pipeline as a policy: what `A.save` wrote, JSON or YAML.

A file is read as data alone. It may name transforms of albumentations and of medsimclr.augment;
they are looked up among the classes that albumentations knows already: no name is ever imported.
`Lambda`, which holds code, is not among them.
"""

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import albumentations as A
import cv2
import yaml
from albumentations.core.serialization import SERIALIZABLE_REGISTRY, shorten_class_name

# Registers our transforms, which a pipeline may name.
from medsimclr.augment import crop, intensity, stain_transforms, transforms  # noqa: F401
from medsimclr.augment.contract import first_line
from medsimclr.augment.geometric import is_geometric
from medsimclr.errors import PolicyError

__all__ = ["PipelinePolicy", "pipeline_policy", "read_pipeline"]

_LARGEST_BYTES = 1_000_000
_MOST_NODES = 10_000
_DEEPEST = 32
_LARGEST_NUMBER = 10_000
_CLASS = "__class_fullname__"
_KNOWN_MODULES = ("albumentations.", "medsimclr.augment.")


@dataclass(frozen=True, kw_only=True)
class PipelinePolicy:
    """Views of a saved albumentations pipeline, resized at the end where they are of another size.

    The fields hold the whole of it, so that a checkpoint does too.
    """

    contrastive_json: str
    """The pipeline of pretraining, as `A.to_dict(compose)["transform"]`."""
    supervised_json: str
    """That of fine-tuning and distillation."""

    def contrastive(self, view_px: int) -> A.Compose:
        """Return the pipeline, ended by a resize."""
        return _sized(self.contrastive_json, view_px)

    def supervised(self, view_px: int) -> A.Compose:
        """Return the supervised pipeline, ended by a resize."""
        return _sized(self.supervised_json, view_px)


def read_pipeline(path: Path) -> PipelinePolicy:
    """Read what `A.save` wrote, or a file that holds two of these, `contrastive` and `supervised`.

    Of one pipeline alone the supervised views are its geometric part: crops, resizes, flips, turns
    and distortions, without what changes values.

    Raises:
        PolicyError: it cannot be read, is no such file, or names anything but transforms.
    """
    where = f"augmentation pipeline {str(path)!r}"
    return pipeline_policy(_parse(path, where), where=where)


def pipeline_policy(content: object, *, where: str) -> PipelinePolicy:
    """Check what a file or a run's record holds; see `read_pipeline`.

    Args:
        content: one pipeline or two, as JSON or YAML values.
        where: names its origin in errors.

    Raises:
        PolicyError: it names anything but transforms, or they cannot be built.
    """
    try:
        if isinstance(content, dict) and content.keys() == {"contrastive", "supervised"}:
            contrastive = _checked(content["contrastive"])
            supervised = _checked(content["supervised"])
        else:
            contrastive = _checked(content)
            supervised = _geometric_part(contrastive) or {_CLASS: "Compose", "transforms": []}
        return PipelinePolicy(
            contrastive_json=json.dumps(contrastive, sort_keys=True),
            supervised_json=json.dumps(supervised, sort_keys=True),
        )
    except PolicyError as error:
        raise PolicyError(f"{where}: {error}") from error
    except TypeError as error:
        # YAML knows values and keys that JSON does not, such as dates.
        raise PolicyError(
            f"{where} must hold text, numbers, lists and names alone: {first_line(error)}"
        ) from error


def _parse(path: Path, where: str) -> Any:
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"{where} cannot be read: {error.strerror}; check its path.") from error
    if len(text) > _LARGEST_BYTES:
        raise PolicyError(f"{where} must have at most {_LARGEST_BYTES} bytes, got more.")
    is_json = path.suffix == ".json"
    try:
        return json.loads(text) if is_json else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise PolicyError(
            f"{where} is not {'JSON' if is_json else 'YAML'}: {_problem(error)} Write it with "
            "albumentations.save(compose, path, data_format)."
        ) from error


def _problem(error: Exception) -> str:
    """Return what a parser found, and in which line; PyYAML's first line is of the context."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{type(error).__name__}: {error.problem}, line {error.problem_mark.line + 1}."
    return first_line(error)


def _checked(saved: Any) -> dict[str, Any]:
    """Return the pipeline in what A.save wrote, after a look at every name in it."""
    pipeline = saved.get("transform") if isinstance(saved, dict) else None
    if not isinstance(pipeline, dict) or _CLASS not in pipeline:
        raise PolicyError(
            "it must hold what albumentations.save(compose, path, data_format) writes, a "
            f"'transform' with a {_CLASS!r}, or two of these named 'contrastive' and 'supervised'."
        )
    for number, node in enumerate(_nodes(pipeline)):
        if number > _MOST_NODES:
            raise PolicyError(f"it must have at most {_MOST_NODES} values, got more.")
        if isinstance(node, dict) and (_CLASS in node or "transforms" in node):
            _class_of(node)
        if isinstance(node, dict):
            _check_arguments(node)
    _build(pipeline)
    return pipeline


def _nodes(value: Any, *, depth: int = 0) -> Iterator[Any]:
    if depth > _DEEPEST:
        raise PolicyError(f"it must be nested at most {_DEEPEST} deep, got deeper.")
    yield value
    children = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        for child in children:
            yield from _nodes(child, depth=depth + 1)


def _check_arguments(node: dict[str, Any]) -> None:
    for name, value in node.items():
        if str(name).endswith(("path", "paths", "file")):
            raise PolicyError(f"it must name no file, got {name}={value!r}; leave it out.")
        if isinstance(value, int | float) and abs(value) > _LARGEST_NUMBER:
            raise PolicyError(
                f"its numbers must be at most {_LARGEST_NUMBER}, got {name}={value!r}; no view is "
                "as large."
            )


def _class_of(node: dict[str, Any]) -> type:
    name = node.get(_CLASS)
    known = SERIALIZABLE_REGISTRY.get(shorten_class_name(name)) if isinstance(name, str) else None
    if known is None or not known.__module__.startswith(_KNOWN_MODULES):
        raise PolicyError(
            f"it names {name!r}, but may name transforms of albumentations {A.__version__} and "
            "medsimclr.augment alone; write a policy class for anything else."
        )
    return cast(type, known)


def _build(pipeline: dict[str, Any]) -> A.BasicTransform | A.BaseCompose:
    try:
        with warnings.catch_warnings():
            # A misspelt or outdated argument is but a warning to albumentations, and then ignored.
            warnings.simplefilter("error")
            return A.from_dict({"transform": pipeline})
    except Exception as error:
        # albumentations raises what its arguments happen to run into.
        raise PolicyError(
            f"albumentations {A.__version__} cannot build it: {first_line(error)}"
        ) from error


def _sized(pipeline_json: str, view_px: int) -> A.Compose:
    resize = A.Resize(view_px, view_px, interpolation=cv2.INTER_CUBIC)
    return A.Compose([_build(json.loads(pipeline_json)), resize])


def _geometric_part(node: dict[str, Any]) -> dict[str, Any] | None:
    """Return a pipeline without the transforms that change values; None if nothing is left."""
    known = _class_of(node)
    if "transforms" not in node:
        return node if is_geometric(known) else None
    parts = [part for child in node["transforms"] if (part := _geometric_part(child))]
    if not parts:
        return None
    # Of fewer transforms than it draws, SomeOf would complain.
    fewer = {"n": min(node["n"], len(parts))} if isinstance(node.get("n"), int) else {}
    return {**node, **fewer, "transforms": parts}
