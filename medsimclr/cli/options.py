"""Turn a configuration model into a command: arguments and options come from its fields."""

import inspect
import sys
import traceback
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import typer.core
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from medsimclr.config.base import (
    Argument,
    CommandConfig,
    Flag,
    option_name,
    parse_value,
    resolve,
    same_value,
)
from medsimclr.errors import ConfigError, MedSimCLRError

__all__ = ["OneValueCommand", "build_command", "exit_on_error"]

Config = TypeVar("Config", bound=CommandConfig)
Run = Callable[[Config, bool], None]
_INTERRUPTED = 130


def build_command(model: type[Config], run: Run[Config]) -> Callable[..., None]:
    """Return a typer command.

    Args:
        model: its fields marked `Argument` and `Flag` become parameters; --config, --set and --json
            are added.
        run: called with the resolved configuration and whether JSON was asked for.
    """

    def command(**given: Any) -> None:
        tomls: list[Path] = given.pop("config") or []
        assignments: list[str] = given.pop("set") or []
        as_json: bool = given.pop("json")
        with exit_on_error():
            flags = {
                key: _value(model, key, value)
                for key, value in given.items()
                if value not in (None, [])
            }
            if tomls:
                same_value("--config", list(map(str, tomls)))
            toml = tomls[0] if tomls else None
            run(resolve(model, flags=flags, assignments=assignments, toml=toml), as_json)

    parameters = [_parameter(name, info) for name, info in model.model_fields.items()]
    chosen = [parameter for parameter in parameters if parameter is not None]
    chosen.sort(key=lambda parameter: not _is_argument(parameter))
    chosen += _common_parameters()
    command.__signature__ = inspect.Signature(chosen)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in chosen}
    command.__doc__ = model.__doc__
    return command


class OneValueCommand(typer.core.TyperCommand):
    """A command that refuses a switch given both ways, of which typer would take the last."""

    def parse_args(  # type: ignore[override]  # the base's own Context is not public
        self, ctx: typer.Context, args: list[str]
    ) -> list[str]:
        """Read the words of a command line."""
        for option in self.params:
            ways = [
                next((word for word in args if word in names), None)
                for names in (option.opts, option.secondary_opts)
            ]
            if None not in ways:
                with exit_on_error():
                    raise ConfigError(f"give either {ways[0]} or {ways[1]}, got both.")
        return super().parse_args(ctx, args)


class exit_on_error:
    """Show an error of ours as one sentence on stderr and exit with its code."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            # Frames that an error keeps would keep loader processes, which outlive the last line.
            traceback.clear_frames(error.__traceback__)
        if isinstance(error, MedSimCLRError):
            if not error.is_echo:
                sys.stderr.write(f"medsimclr: {error}\n")
            raise SystemExit(error.exit_code) from error
        if isinstance(error, KeyboardInterrupt):
            sys.stderr.write("medsimclr: interrupted; run the same command again to go on.\n")
            raise SystemExit(_INTERRUPTED) from error


def _value(model: type[CommandConfig], key: str, given: Any) -> object:
    """Return what an option was given; its texts become values where no text is wanted."""
    scalar = _scalar(model.model_fields[key])
    if scalar is None:
        return given
    is_text = scalar in (str, Path)
    return same_value(
        option_name(model, key), given if is_text else [parse_value(text) for text in given]
    )


def _parameter(name: str, info: FieldInfo) -> inspect.Parameter | None:
    marker = next((m for m in info.metadata if isinstance(m, Argument | Flag)), None)
    if marker is None:
        return None
    if isinstance(marker, Argument):
        option: Any = typer.Argument(metavar=marker.metavar, help=info.description)
    else:
        required = " Required." if info.is_required() else ""
        option = typer.Option(
            help=f"{info.description}{required}",
            show_default=_shown_default(info),
            metavar=_metavar(info),
        )
    # Texts, and all of them: typer would say in other words than ours what does not fit, and take
    # the last of several.
    is_texts = _scalar(info) is not None
    annotation: Any = Annotated[
        list[str] | None if is_texts else _optional(info.annotation), option
    ]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _shown_default(info: FieldInfo) -> str | bool:
    # Unset flags are None, so that --config and --set can speak; show the model's default.
    is_shown = info.default not in (None, False, PydanticUndefined)
    return str(info.default) if is_shown else False


def _scalar(info: FieldInfo) -> Any:
    """Return the type of an option that takes one value, None for a switch, list or argument."""
    if any(isinstance(marker, Argument) for marker in info.metadata):
        return None
    annotation = info.annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        (annotation,) = (part for part in typing.get_args(annotation) if part is not type(None))
    return None if annotation is bool or typing.get_origin(annotation) is list else annotation


def _metavar(info: FieldInfo) -> str | None:
    scalar = _scalar(info)
    if scalar is None:
        return None
    choices = typing.get_args(scalar)
    return f"<{'|'.join(map(str, choices)) if choices else scalar.__name__.lower()}>"


def _optional(annotation: Any) -> Any:
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return annotation if is_union else annotation | None


def _is_argument(parameter: inspect.Parameter) -> bool:
    return isinstance(typing.get_args(parameter.annotation)[1], type(typer.Argument()))


def _common_parameters() -> list[inspect.Parameter]:
    common: dict[str, Any] = {
        "config": Annotated[
            list[Path] | None,
            typer.Option(help="TOML file of configuration keys, as in config.toml."),
        ],
        "set": Annotated[
            list[str] | None, typer.Option(help="Any configuration key, as key=value; repeatable.")
        ],
        "json": Annotated[bool, typer.Option("--json", help="Write the result as JSON.")],
    }
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if name == "json" else None,
            annotation=annotation,
        )
        for name, annotation in common.items()
    ]
