"""How long the program takes to say its version and its help on a warm disk.

    python benchmarks/startup.py [RUNS]

A bare interpreter is measured in the same run: what is above it is ours.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

RECONCILE = str(Path(sys.executable).parent / "reconcile")
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "reconcile --version": [RECONCILE, "--version"],
    "reconcile --help": [RECONCILE, "--help"],
}


def seconds(command: list[str]) -> float:
    """Wall time of one whole process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """All commands in turn, the medians at the end."""
    # As an installed program: each module is compiled once, and not again by every process.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    times = [{name: seconds(command) for name, command in COMMANDS.items()} for _ in range(runs + 1)][1:]
    for name in COMMANDS:
        print(f"{name:20} {statistics.median(row[name] for row in times):6.3f} s")


if __name__ == "__main__":
    main()
