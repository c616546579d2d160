"""Run the command line as a user does."""

import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-c", "from medsimclr.cli.main import main; main()"]


def medsimclr(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def assert_refused(result: subprocess.CompletedProcess[str], code: int, *texts: str) -> None:
    """Check the exit code, and that stderr is a sentence that holds these texts."""
    sentence = " ".join(result.stderr.split())
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    for text in texts:
        assert text in sentence, sentence
