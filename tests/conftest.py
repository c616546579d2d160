"""What all tests share: the real data, where this machine has it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# Before anything imports albumentations: it would ask the network for its version.
import medsimclr.augment  # noqa: F401

if TYPE_CHECKING:
    from tests.distributed.processes import Processes

_SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def handlers() -> Iterator[dict[signal.Signals, Any]]:
    """The handlers of this process, put back after each test.

    A command that is run in this process remembers signals to its end, and the next training here
    would find what it remembered.
    """
    before = {number: signal.getsignal(number) for number in signal.Signals}
    yield before
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, before[number])


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real slides, tiles and CIFAR-10 beside the checkout; CI has them, a user may not."""
    if not _SHARED_DATA.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI must have the real data at {_SHARED_DATA}")
        pytest.skip("the real slides and tiles are not on this machine (../shared/data)")
    return _SHARED_DATA


@pytest.fixture(scope="session")
def smoke_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of `medsimclr demo --smoke`."""
    from medsimclr.config.demo import DemoConfig
    from medsimclr.demo.run import demo

    out = tmp_path_factory.mktemp("demo") / "smoke"
    demo(DemoConfig(out=out, smoke=True, workers=0))
    return out


@pytest.fixture(scope="session")
def processes() -> Iterator["Processes"]:
    """Groups of real processes; tests/distributed/processes.py says how to use them."""
    from tests.distributed.processes import Processes

    processes = Processes()
    yield processes
    processes.close()
