"""How long `medsimclr --help` takes: at most 0.7 s, and how many starts of a bare Python that is.

Usage: python benchmarks/startup.py [--runs 15]
"""

import argparse
import statistics
import subprocess
import sys
import time

LIMIT_SECONDS = 0.7
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "medsimclr --help": [
        sys.executable,
        "-c",
        "import sys; sys.argv = ['medsimclr', '--help']; "
        "from medsimclr.cli.main import main; main()",
    ],
}


def seconds(command: list[str]) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Run both in turn and print medians, ratio and limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    for command in COMMANDS.values():
        seconds(command)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    bare, ours = (statistics.median(values) for values in times.values())
    for name, values in times.items():
        print(f"{name:20} median {statistics.median(values):.3f} s, max {max(values):.3f} s")
    print(f"ratio {ours / bare:.1f}; {ours / LIMIT_SECONDS:.2f} of the limit of {LIMIT_SECONDS} s")
    sys.exit(ours > LIMIT_SECONDS)


if __name__ == "__main__":
    main()
