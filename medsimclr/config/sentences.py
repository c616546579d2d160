"""Say what is wrong with a value of a configuration, in one sentence for whoever gave it."""

from collections.abc import Callable

from pydantic import ValidationError
from pydantic_core import ErrorDetails

__all__ = ["sentence_of"]

# What a value must be, by pydantic's type of error and with the fields of its context:
# https://docs.pydantic.dev/latest/errors/validation_errors
_MUST_BE = {
    "greater_than_equal": "at least {ge:.12g}",
    "greater_than": "above {gt:.12g}",
    "less_than_equal": "at most {le:.12g}",
    "less_than": "below {lt:.12g}",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "literal_error": "{expected}",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text, in quotes where it looks like a number",
    "path_type": "a path",
    "list_type": 'a list, as in ["a", "b"]',
    "dict_type": "a table of keys and values, as in {{ key = 1 }}",
    "too_short": "a list of at least {min_length}",
}


def sentence_of(error: ValidationError, *, name_of: Callable[[str], str]) -> str:
    """Return what must be given, or how each value that came misses what is allowed.

    Args:
        error: of a configuration model.
        name_of: how a key was or can be given, such as --batch-size for batch_size.
    """
    problems = error.errors(include_url=False)
    missing = [name_of(str(p["loc"][0])) for p in problems if p["type"] == "missing"]
    if missing:
        return f"{' and '.join(missing)} must be given, on the command line or in --config."
    return f"{'; '.join(_clause(problem, name_of) for problem in problems)}."


def _clause(problem: ErrorDetails, name_of: Callable[[str], str]) -> str:
    if not problem["loc"]:
        # What a model says of several fields at once names them itself.
        return problem["msg"].removeprefix("Value error, ")
    key, *inner = problem["loc"]
    place = "".join(f", item {part + 1}" if isinstance(part, int) else f".{part}" for part in inner)
    name = f"{name_of(str(key))}{place}"
    must_be = _MUST_BE.get(problem["type"])
    if must_be is None:
        return f"{name}: {problem['msg']}, got {problem['input']!r}"
    return f"{name} must be {must_be.format(**problem.get('ctx', {}))}, got {problem['input']!r}"
