import time

import pytest

from medsimclr.distributed.agreement import on_main
from medsimclr.distributed.group import Group
from medsimclr.errors import ConfigError, IntegrityError, LockedError
from tests.distributed.processes import Failure


def _value(group, value):
    calls = []
    return on_main(group, lambda: calls.append(group.rank) or value), calls


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("value", [None, True, 12, 0.1, "Schnitt Ä µm " * 100, ""])
def test_all_learn_what_the_main_process_returned(processes, size, value):
    assert processes.run(_value, value, size=size) == [(value, [0])] + [(value, [])] * (size - 1)


def _fails(group, error):
    def action() -> None:
        time.sleep(0.2)
        raise error

    on_main(group, action)


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("--out 'Läufe/a' must be new; choose another --out."),
        IntegrityError("damaged"),
        LockedError(""),
    ],
)
def test_all_raise_the_error_of_the_main_process(processes, error):
    for outcome in processes.outcomes(_fails, error, size=4):
        assert isinstance(outcome, Failure)
        assert (outcome.kind, outcome.sentence) == (type(error).__name__, str(error))
        assert outcome.exit_code == error.exit_code


class _NestedError(ConfigError):
    """Not listed in medsimclr.errors."""


def test_error_of_an_unlisted_class_becomes_its_nearest_listed_base(processes):
    main, other = processes.outcomes(_fails, _NestedError("wrong"), size=2)
    assert (main.kind, main.sentence) == ("_NestedError", "wrong")
    assert (other.kind, other.sentence) == ("ConfigError", "wrong")


def test_others_learn_of_an_unexpected_error_too(processes):
    main, other = processes.outcomes(_fails, ZeroDivisionError("by zero"), size=2)
    assert (main.kind, main.sentence) == ("ZeroDivisionError", "by zero")
    assert other.kind == "LostProcessError"
    assert other.sentence == (
        "process 1 of 2, which acts for all, failed with ZeroDivisionError: by zero"
    )


def test_one_process_simply_acts():
    assert on_main(Group(), lambda: 7) == 7
    with pytest.raises(ConfigError, match=r"^alone$"):
        _fails(Group(), ConfigError("alone"))
