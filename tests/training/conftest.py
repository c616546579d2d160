"""What the tests of whole trainings share."""

from collections.abc import Iterator

import pytest

from tests.training.kills.starts import Starts


@pytest.fixture(scope="session")
def starts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starts]:
    """The process that starts trainings in a moment; see tests/training/kills."""
    starts = Starts(tmp_path_factory.mktemp("starts"))
    yield starts
    starts.close()
